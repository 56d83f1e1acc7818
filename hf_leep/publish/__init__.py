"""Push a report to the Hub, propose its scores to the candidates' cards, push a metric."""

from hf_leep.publish.annotations import Annotation, annotate, check_annotations
from hf_leep.publish.metric import push_metric
from hf_leep.publish.pushed import Pushed
from hf_leep.publish.report import check, push

__all__ = ["Annotation", "Pushed", "annotate", "check", "check_annotations", "push", "push_metric"]

"""What the server of warm.py imports and computes once, for all the processes that it forks."""

import pkgutil
import threading
from importlib import import_module

import hf_leep
from hf_leep.selfcheck.certificate import certificate
from hf_leep.store import Store

MODULES = [
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.PpmImagePlugin",
    "accelerate.commands.accelerate_cli",
    "datasets",
    "jinja2",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "pydantic.main",
    "pydantic.type_adapter",
    "rich._emoji_codes",
    "scipy.io",
    "scipy.stats",
    "sklearn.linear_model",
    "torch.distributed.run",
    "transformers.conversion_mapping",
    "transformers.models.auto.feature_extraction_auto",
    "transformers.models.auto.image_processing_auto",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.processing_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.auto.video_processing_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.convnext.image_processing_pil_convnext",
    "transformers.models.resnet.modeling_resnet",
]

for _name in MODULES:
    import_module(_name)
for _module in pkgutil.walk_packages(hf_leep.__path__, "hf_leep."):
    if not _module.name.endswith(("__main__", "runs.worker", "inference.feeder")):  # they are run, and not imported
        import_module(_module.name)

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

get_checkpoint_conversion_mapping("resnet")  # it compiles hundreds of patterns
certificate(["leep", "leave-one-out-leep", "nce"], Store(None))  # of the default measures
assert threading.active_count() == 1  # a fork copies one thread only

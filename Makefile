# `make demo` runs the main job, `make test` the tests, `make paper` the paper's study on real data; each makes its own
# .venv where there is none.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test paper check style

demo: $(READY)
	$(BIN)/hf-leep demo

test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Small: under a quarter of an hour on two cores. What is finished is not repeated; README has the command for all.
DATA ?= ../shared/data
STUDY ?= hf-leep-paper
MODELS := cifar10_resnet20 cifar10_resnet56 mobilenet_v1_0.25_128_imagenet mobilenet_v1_0.25_224_imagenet_float \
	mobilenet_v1_0.5_160_imagenet
RUN = $(BIN)/python -m examples.paper run --dataset $(DATA)/cifar100 --output $(STUDY)

paper: $(READY)
	$(RUN) --source $(DATA)/models/cifar10_resnet20
	$(RUN) $(MODELS:%=--source $(DATA)/models/%) --experiment source-selection --tasks 8

check: style test

style: $(READY)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

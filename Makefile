# `make demo` runs the main job, `make test` the tests, `make survive` the trials of SECURITY.md, `make paper` the paper's
# study on real data. Each installs what it needs into .venv: `make demo` what users need, the others the rest. After that
# only `make spaces`, `make page` and `make report-space` need a network.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
READY_TO_TEST := .venv/.ready-to-test
INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

.PHONY: demo test survive paper check style spaces page report-space

demo: $(READY)
	$(BIN)/hf-leep demo

test: $(READY_TO_TEST)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# About a quarter of an hour on two free cores; exit code 1 if anything is lost. SECURITY.md says what is promised.
survive: $(READY_TO_TEST)
	$(BIN)/python -m tests.survive

# Small: about a quarter of an hour on two free cores. What is finished is not repeated; README says how to run more.
DATA ?= ../shared/data
STUDY ?= hf-leep-paper
SOURCES := cifar10_resnet20 cifar10_resnet56 mobilenet_v1_0.25_128_imagenet mobilenet_v1_0.25_224_imagenet_float \
	mobilenet_v1_0.5_160_imagenet
ONE := --source $(DATA)/models/cifar10_resnet20
RUN = $(BIN)/python -m examples.paper run --dataset $(DATA)/cifar100 --output $(STUDY) \
	--epochs 5 --scratch-epochs 10 --episodes 60

paper: $(READY)
	$(RUN) $(ONE)
	$(RUN) $(SOURCES:%=--source $(DATA)/models/%) --experiment source-selection --tasks 8
	$(RUN) $(ONE) --experiment small-balanced --transfer fine-tuning --tasks 20
	$(RUN) $(ONE) --experiment meta-transfer --tasks 40
	$(RUN) $(ONE) --experiment convergence --tasks 4

check: style test

style: $(READY_TO_TEST)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# Pushes each metric to a Hub of the tests, installs the Space as the Hub would, and uses its page in Chromium (a
# package of your system, or CHROMIUM=PATH). The environments are in .spaces.
spaces: $(READY)
	$(BIN)/python -m tests.spaces $(if $(CHROMIUM),--chromium $(CHROMIUM))

# Opens report.html in Chromium (a package of your system, or CHROMIUM=PATH) and uses it; playwright is in .spaces.
page: $(READY)
	$(BIN)/python -m tests.page $(if $(CHROMIUM),--chromium $(CHROMIUM))

# Starts the Space of examples/space as the Hub would, with reports on a Hub of the tests, and uses it in Chromium.
report-space: $(READY)
	$(BIN)/python -m tests.report_space $(if $(CHROMIUM),--chromium $(CHROMIUM))

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) .
	touch $@

$(READY_TO_TEST): $(READY)
	$(INSTALL) '.[dev]'
	touch $@

# `make help` lists the targets. Each prepares what it needs in .venv; a second call installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
# on a terminal pip shows what it fetches and how far it is; elsewhere a line says what is installed
PIP := $(BIN)/pip install $(if $(MAKE_TERMOUT),,--quiet) -c requirements/constraints.txt
# worksteal: a worker runs whole files, so that what a file's tests share is made once
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal --durations=20
WORK_DIR := work_dirs/demo
DEMO_CONFIG := configs/densenet-bc-l22-k12_1xb32_digits.py

# Importing mmpretrain takes seconds, so two workers with many tests each; one torch thread a worker. The demo too: its
# layers are so small that a second thread costs more than it gives.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
# Threads that wait do not spin: on a busy machine spinning makes small layers many times slower.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help demo install test test-all coverage test-foundations kill-test fuzz mutants sanitize lint format bench bench-gpu gpu-session bench-depth bench-rdnet bench-data bench-end-to-end bench-wheel docs linkcheck model-zoo wheel-check clean

help:  ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: $(STAMPS)/base  ## train a small DenseNet on handwritten digits, test it, show where the results are
	@rm -rf $(WORK_DIR)
	$(BIN)/python tools/train.py $(DEMO_CONFIG) --work-dir $(WORK_DIR)
	$(BIN)/python tools/test.py $(DEMO_CONFIG) $(WORK_DIR)/epoch_20.pth --work-dir $(WORK_DIR)/test \
	    --out $(WORK_DIR)/metrics.json --out-item metrics
	@$(BIN)/python -c "import json; top1 = json.load(open('$(WORK_DIR)/metrics.json'))['accuracy/top1']; \
	    print(f'\nTop-1 accuracy on the held-out quarter: {top1:.2f}%'); assert top1 >= 98, 'expected at least 98%'"
	@echo "Results:         $(WORK_DIR)/metrics.json, checkpoints and logs in $(WORK_DIR)"
	@echo "Training curves: $(WORK_DIR)/training_curves.png"

install: $(STAMPS)/tests  ## make .venv with mmdensenet and what the tests need

test: $(STAMPS)/tests  ## run the test suite
	$(PYTEST) -m "not slow"

test-all: $(STAMPS)/peers $(STAMPS)/downstream  ## run the test suite and the long tests
	$(PYTEST)

coverage: $(STAMPS)/peers $(STAMPS)/downstream  ## the same, and the lines that they cover, which takes almost twice as long
	$(PYTEST) --cov --cov-report=term

FOUNDATION_ARGS ?= -- -n 2 -m "not slow"

test-foundations: $(STAMPS)/tests  ## run the test suite on mmengine's pre-release and on the OneDL forks
	$(BIN)/python tests/scripts/foundations.py $(FOUNDATION_ARGS)

kill-test: $(STAMPS)/tests  ## kill a training run 200 times, resume it, compare what it ends with
	$(BIN)/python tests/scripts/kill_loop.py --kills 200

fuzz: $(STAMPS)/tests  ## read 100,000 mutated checkpoints: each is data or refused, and nothing runs
	$(BIN)/python tests/scripts/fuzz_checkpoint.py --inputs 100000

sanitize: $(STAMPS)/tests  ## run every C++ kernel under AddressSanitizer and UndefinedBehaviorSanitizer
	$(BIN)/python tests/scripts/sanitize_kernels.py

MINUTES ?= 30

mutants: $(STAMPS)/mutants  ## change the code in one place at a time and see whether its tests notice (MINUTES=30)
	$(BIN)/python -W ignore tests/scripts/mutants.py --minutes $(MINUTES)

lint: $(STAMPS)/tests  ## check the style with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMPS)/tests  ## put the code into ruff's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# They set their own number of threads; and threads that spin between operations are the default that users have.
BENCH := env -u OMP_WAIT_POLICY -u OMP_NUM_THREADS -u MKL_NUM_THREADS $(BIN)/python -m benchmarks

bench: $(STAMPS)/bench  ## measure speed and memory beside other DenseNets (a quarter of an hour on two cores)
	$(BENCH) --device cpu $(BENCH_ARGS)

bench-gpu: $(STAMPS)/bench  ## the same on a GPU, with torch.compile
	$(BENCH) --device cuda $(BENCH_ARGS)

gpu-session: $(STAMPS)/bench $(STAMPS)/tests  ## all that a borrowed GPU is wanted for, in slices of nine minutes
	$(BENCH).gpu_session $(BENCH_ARGS)

bench-depth: $(STAMPS)/bench  ## measure one dense block against its depth, and draw the picture of the docs
	$(BENCH).depth $(BENCH_ARGS)

bench-rdnet: $(STAMPS)/bench  ## measure RDNet beside timm's
	$(BENCH).rdnet $(BENCH_ARGS)

bench-data: $(STAMPS)/bench  ## measure images a second and core, from JPEG files to a batch, beside other loaders
	$(BENCH).data $(BENCH_ARGS)

bench-end-to-end: $(STAMPS)/bench  ## measure steps of the commands train and test beside the bare step of the model
	$(BENCH).end_to_end $(BENCH_ARGS)

bench-wheel: $(STAMPS)/venv  ## measure DenseNet-121 of an installed wheel beside its peers, in an environment of its own
	$(BENCH).wheel $(BENCH_ARGS)

docs: $(STAMPS)/docs  ## build the documentation into docs/_build/html
	rm -rf docs/api/generated  # pages of modules that are gone
	$(BIN)/sphinx-build -j auto -E -W --keep-going -b html docs docs/_build/html

linkcheck: $(STAMPS)/docs  ## follow the external links of the documentation (needs the network, so not in .ci/run)
	$(BIN)/sphinx-build --keep-going -b linkcheck docs docs/_build/linkcheck

model-zoo: $(STAMPS)/base  ## write the README's table of weights and docs/model_zoo.md from configs/metafile.yml
	$(BIN)/python docs/model_zoo.py

wheel-check: $(STAMPS)/tests  ## build the wheel and use it in an environment and a folder of its own
	$(BIN)/python tests/scripts/wheel_check.py

clean:  ## remove the environment and what was built
	rm -rf $(VENV) build dist *.egg-info docs/_build .pytest_cache .ruff_cache .coverage mmdensenet/.mim

# the installation compiles the kernels when their source has changed
KERNELS := $(wildcard mmdensenet/ops/steps/native/*.cpp mmdensenet/ops/steps/native/*.h mmdensenet/ops/steps/native/build.py)
REQUIREMENTS := $(KERNELS) setup.py pyproject.toml requirements/runtime.txt requirements/lite.txt requirements/constraints.txt

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'mmdensenet needs Python 3.11 or newer; $(PYTHON) is older. Say which: make PYTHON=/path/to/python3.11' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/base: $(STAMPS)/venv $(REQUIREMENTS)
	@echo 'Installing mmdensenet and what it needs into $(VENV): a minute or more, as PyTorch is large and kernels are compiled'
	@$(PIP) -e .[lite]
	@touch $@

$(STAMPS)/tests: $(STAMPS)/base requirements/tests.txt
	@echo 'Installing what the tests need: a minute'
	@$(PIP) -e .[lite,tests]
	@touch $@

$(STAMPS)/mutants: $(STAMPS)/tests requirements/mutants.txt
	@echo 'Installing what `make mutants` needs'
	@$(PIP) -r requirements/mutants.txt
	@touch $@

$(STAMPS)/bench: $(STAMPS)/base requirements/bench.txt
	@echo 'Installing what the benchmarks need: half a minute'
	@$(PIP) -e .[lite,bench]
	@touch $@

$(STAMPS)/peers: $(STAMPS)/tests requirements/peers.txt
	@echo 'Installing timm, MONAI and torchxrayvision, with which tests compare: a minute'
	@$(PIP) -e .[lite,tests,peers]
	@touch $@

$(STAMPS)/downstream: $(STAMPS)/tests requirements/downstream.txt
	rm -rf $(VENV)/downstream
	@echo 'Installing mmdet and mmseg into $(VENV)/downstream'
	@$(PIP) --no-deps --target $(VENV)/downstream -r requirements/downstream.txt
	@touch $@

$(STAMPS)/docs: $(STAMPS)/base requirements/docs.txt requirements/serve.txt
	@echo 'Installing what the documentation needs: half a minute'
	@$(PIP) -e .[lite,docs,serve]
	@touch $@

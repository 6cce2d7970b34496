PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
JOBS   ?= 2
BUDGET ?= 2h
# tests of what computes with kernels: they run on the reference implementations, too
KERNELS := heads kernels training/test_nonfinite.py test_buffers.py \
           test_losses.py test_nn.py test_normalize.py test_optim.py test_prioritized_replay.py \
           files/test_migrations.py \
           algorithms/test_reference_ddpg_td3.py algorithms/test_reference_dqn.py \
           algorithms/test_reference_on_policy.py algorithms/test_reference_sac.py \
           algorithms/test_reference_soft_q.py algorithms/test_reference_tables.py \
           algorithms/test_learn.py algorithms/test_reproducibility.py
# but these switch Numba on or off themselves, or call the reference implementations
APART := kernels/test_numba_platforms.py kernels/test_native.py kernels/test_jit.py \
         kernels/test_kernels.py heads/test_device_heads.py

# tests with packages that are large or rarely needed, which `make test` skips
SERVICES := loggers data algorithms/test_sklearn_habits.py

.PHONY: demo test test-services test-slow test-nightly prove lint format bench suite growth pictures gallery gpu embedded docs clean

# One stamp file per extra: each target installs only what it needs, once.
$(VENV)/.%: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --editable '$(if $(filter core,$*),.,.[$*])'
	touch $@

demo: $(VENV)/.core          ## install, train SAC on Pendulum-v1, evaluate, save, load
	$(BIN)/python examples/sac.py

test: $(VENV)/.test          ## the test suite; first, without Numba, what computes with kernels
	NPR_NUMBA=0 $(BIN)/python -m pytest -n $(JOBS) $(addprefix tests/,$(KERNELS)) \
	    $(addprefix --ignore tests/,$(APART)) --ignore-glob 'tests/kernels/test_cuda_*'
	$(BIN)/python -m pytest -n $(JOBS) --durations 10

test-services: $(VENV)/.test $(VENV)/.test-services  ## with SB3, scikit-learn, W&B, MLflow and Minari; a skip is an error
	NPR_SKIPS=error $(BIN)/python -m pytest -n $(JOBS) $(addprefix tests/,$(SERVICES))

test-slow: $(VENV)/.test $(VENV)/.docs  ## slow tests: learning over several seeds, and the site in a browser
	$(BIN)/python -m pytest -m slow -n $(JOBS) --ignore tests/test_site.py
	$(BIN)/python -m pytest -m slow tests/test_site.py  # in one process, since it builds the site

test-nightly: $(VENV)/.test $(VENV)/.box2d $(VENV)/.mujoco  ## learning on LunarLander and MuJoCo: hours
	$(BIN)/python -m pytest -m nightly -n $(JOBS)

prove: $(VENV)/.test         ## the tests with every proof in full (docs/trust.md): half an hour
	NPR_PROOFS=full $(BIN)/python -m pytest -n $(JOBS) --durations 20

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench        ## npr and other libraries: an hour, writes benchmarks/results.json; RLTOOLS= its program
	$(BIN)/python benchmarks/peers.py --write
	$(BIN)/python benchmarks/pieces.py $(if $(RLTOOLS),--rltools "$(RLTOOLS)") --write

suite: $(VENV)/.core $(VENV)/.box2d $(VENV)/.mujoco $(VENV)/.plot  ## train what docs/results.md lacks, for BUDGET=2h (all: a day), and write tables and plots
	$(BIN)/python benchmarks/suite.py --budget $(BUDGET)
	$(BIN)/python benchmarks/table.py --plots

embedded: $(VENV)/.test $(VENV)/.embedded  ## exported policies on emulated microcontrollers: tests and a table; WRITE=1: into docs/embedded.md
	$(BIN)/python -m pytest -m "slow or not slow" -n $(JOBS) tests/emulators tests/test_embedded_examples.py
	$(BIN)/python benchmarks/embedded.py $(if $(WRITE),--write)

# one cache for both languages: the code of lessons is the same in both
SPHINX = $(BIN)/python -m sphinx -q -W --keep-going -j 2 -b html
docs: $(VENV)/.docs          ## the site, build/site/index.html; in Chinese build/site/zh
	$(SPHINX) -d build/doctrees/en docs build/site
	$(SPHINX) -d build/doctrees/zh docs/zh build/site/zh

pictures: $(VENV)/.plot      ## docs/learning.gif of the README, and the pictures of docs/plots.md
	$(BIN)/python benchmarks/pictures.py

gallery: $(VENV)/.core       ## a page with twelve agents at work, build/gallery/gallery.html: ten minutes, once
	$(BIN)/python benchmarks/gallery.py

growth: $(VENV)/.plot        ## docs/growth.png
	$(BIN)/python benchmarks/growth.py --write

# Without CUDA= nothing is installed: PYTHON's own packages are used, and the wheels of the folder .whl
WHEELS := $(wildcard .whl/*.whl)
gpu: $(if $(CUDA),$(VENV)/.cuda$(CUDA),$(if $(WHEELS),build/packages/.done))  ## check and time npr on an NVIDIA GPU; CUDA=12 or 13 installs CuPy
	$(if $(CUDA),,$(if $(WHEELS),PYTHONPATH="$(CURDIR)/build/packages:$$PYTHONPATH")) $(if $(CUDA),$(BIN)/python,$(PYTHON)) \
	    benchmarks/gpu.py --commit "$$(git rev-parse --short HEAD)"

build/packages/.done: $(WHEELS)
	$(PYTHON) -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target build/packages $(WHEELS)
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= 2
# what takes long or has nothing to do with kernels, and so is tested once only
APART  := learning platforms interrupts workers door archive damage hostile

.PHONY: demo test test-slow test-nightly prove lint format bench growth clean

# One stamp file per extra, so that each target installs only what it needs, once.
$(VENV)/.%: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '$(if $(filter core,$*),.,.[$*])'
	touch $@

demo: $(VENV)/.core          ## install, train SAC on Pendulum-v1, evaluate, save, load
	$(BIN)/python examples/sac.py

test: $(VENV)/.test          ## the test suite, first without Numba, then as users have it
	NPR_NUMBA=0 $(BIN)/python -m pytest -n $(JOBS) $(addprefix --ignore tests/test_,$(addsuffix .py,$(APART)))
	$(BIN)/python -m pytest -n $(JOBS) --durations 10

test-slow: $(VENV)/.test     ## the long proofs: learning gates over several seeds
	$(BIN)/python -m pytest -m slow -n $(JOBS)

test-nightly: $(VENV)/.test $(VENV)/.box2d $(VENV)/.mujoco  ## LunarLander and MuJoCo: hours
	$(BIN)/python -m pytest -m nightly -n $(JOBS)

prove: $(VENV)/.test         ## the tests with every proof in full (README, Trust): half an hour
	NPR_PROOFS=full $(BIN)/python -m pytest -n $(JOBS) --durations 20

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench        ## npr beside its peers: half an hour, and benchmarks/results.json anew
	$(BIN)/python benchmarks/peers.py --write
	$(BIN)/python benchmarks/pieces.py --write

growth: $(VENV)/.plot        ## docs/growth.png
	$(BIN)/python benchmarks/growth.py --write

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

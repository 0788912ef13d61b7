# Every target works on a machine with Python 3.11, make, a C compiler and a package registry.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
DISTRIBUTIONS := api faces operator trainer evaluator
PREVIOUS := tests/cluster/upgrade/previous

.DEFAULT_GOAL := help
.PHONY: help setup quickstart fmt lint type test test-parts test-trainings test-clusters check fuzz chaos chaos-trainings testbed previous release audit check-images crds chart lock bench-quickstart bench-finetune bench-lfw bench-operator bench-rank-table bench-rank-table-look bench-eval bench-ijb bench-intervals bench-checkpoint bench-data bench-trainer bench-partial-fc bench-recovery bench-elastic bench-scale bench-start dashboard-images page-image clean

##@ Use
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Create .venv with the locked packages and the five distributions

$(VENV)/.ready: requirements/dev.txt $(DISTRIBUTIONS:=/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(addprefix -e ,$(DISTRIBUTIONS))
	touch $@

quickstart: setup ## Draw faces, train on two ranks, evaluate (about 5 minutes on 2 cores; all files under work/)
	test -f work/quickstart-faces/train.rec || $(BIN)/arcface data synth work/quickstart-faces
	$(BIN)/arcface run -f examples/quickstart.yaml --volume faces=work/quickstart-faces --workdir work/quickstart

##@ Develop
fmt: setup ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup ## Check format, lint rules and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m arcface_api --check
	$(BIN)/python charts/generator --check
	$(BIN)/python release/version.py --check

type: setup ## Check types (mypy strict)
	$(BIN)/mypy

PARTS := tests/unit tests/chart tests/docs tests/fuzz tests/monitoring tests/packaging

# Begun from the left, two at a time: clusters mostly wait and take longest, trainings would slow each other down.
test: setup ## Run all tests, in two processes beside each other
	$(MAKE) --no-print-directory --jobs=2 --keep-going test-clusters test-parts test-trainings

test-clusters: setup
	$(BIN)/pytest $(PARTS:%=--ignore=%) --ignore=tests/training

test-parts: setup
	$(BIN)/pytest $(PARTS)

test-trainings: setup
	$(BIN)/pytest tests/training

check: lint type test ## Everything CI checks

testbed: setup ## Build the programs of the test bed once: Kubernetes, Kueue, Helm, Prometheus
	$(BIN)/python tests/testbed/programs/binaries.py

COMMIT ?= HEAD
previous: setup ## Keep wheels and chart of a commit (COMMIT=...) as the release before, which upgrades are tried from
	rm -rf build/previous $(PREVIOUS)/*.whl && mkdir -p build/previous
	git archive $(COMMIT) LICENSE $(DISTRIBUTIONS) | tar --extract --directory build/previous
	for part in $(DISTRIBUTIONS); do \
	  (cd build/previous/$$part && ../../../$(BIN)/hatchling build --target wheel --directory ../../../$(PREVIOUS)) || exit 1; done
	git archive --output $(PREVIOUS)/chart.tgz $(COMMIT):charts arcface-operator
	git rev-parse $(COMMIT) > $(PREVIOUS)/commit

release: setup ## Build wheels and chart of the newest commit into dist/ (BASE=NAME@sha256:... for the images, too)
	$(BIN)/python release/build.py $(if $(BASE),--images $(BASE))

audit: setup ## Ask the package index for known weaknesses of the images' locked packages; names those it could not ask about
	$(BIN)/python release/audit.py

check-images: setup ## Build both images from their Dockerfiles and look into them (root; downloads half a gigabyte)
	ARCFACE_IMAGES=all $(BIN)/pytest tests/images

crds: setup ## Write crds/ from the types
	$(BIN)/python -m arcface_api

chart: crds ## Write what the chart holds of other places: dashboards, resource, rights, README
	$(BIN)/python charts/generator

lock: setup ## Pin all packages and their hashes anew
	cd requirements && for set in build operator trainer dev; do \
	  ../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --custom-compile-command "make lock" $$set.in -o $$set.txt || exit 1; done

SECONDS ?= 60
SEED ?= 0
fuzz: setup ## Change valid files, lists and messages in every way and read them (SECONDS=60 SEED=0 ONLY=part of a name)
	PYTHONPATH=tests $(BIN)/python -m fuzz.campaign --seconds $(SECONDS) --seed $(SEED) --only "$(ONLY)"

RUNS ?= 100
CAST ?= one replica
chaos: setup ## Draw jobs and faults and play them on a real control plane (SEED=0 RUNS=100 CAST="one replica", "two replicas", "two releases", "queues"): nothing that must hold breaks
	SEED=$(SEED) RUNS=$(RUNS) CAST="$(CAST)" $(BIN)/pytest tests/cluster/chaos --capture=no

chaos-trainings: setup ## Kill, stop and starve real trainings at drawn moments (SEED=0 RUNS=100, about half a minute each)
	PYTHONPATH=tests $(BIN)/python -m training.chaos.campaign --seed $(SEED) --runs $(RUNS)

##@ Measure
FACES ?= ../shared/data/lfw

bench-quickstart: setup ## Accuracy on unseen drawn faces for three seeds, beside chance, untrained and raw pixels
	$(BIN)/python tests/benchmarks/bench_quickstart.py

bench-finetune: setup ## Few images of other people: the quickstart's network fine-tuned and from scratch, by epoch (FINETUNE=folder with train.rec and lfw_dev.bin: real faces)
	$(BIN)/python tests/benchmarks/bench_finetune.py $(FINETUNE)

bench-lfw: setup ## Accuracy on real faces by epoch (FACES=folder with train.rec and lfw_dev.bin; 36 to 94 minutes on two cores)
	$(BIN)/python tests/benchmarks/bench_lfw.py $(FACES)

bench-operator: setup ## Jobs to pods on a real control plane: times, requests, memory, beside a toy's
	$(BIN)/python tests/benchmarks/bench_operator.py

bench-rank-table: setup ## From the rank table's completion to the ranks, on a real kubelet (needs root)
	$(BIN)/python tests/benchmarks/bench_rank_table.py

bench-rank-table-look: setup ## What a look at a gang of 16,384 ranks costs the operator while it starts, and once it trains
	$(BIN)/python tests/benchmarks/bench_rank_table_look.py

bench-eval: setup ## Decoding and aligning beside the bare network (FACES=folder with IJB_release/IJBC)
	$(BIN)/python tests/benchmarks/bench_eval.py $(FACES)

bench-ijb: setup ## IJB-C's size in fresh processes: 1:1 beside plain NumPy, 1:N, a report; 100,000 images against all
	$(BIN)/python tests/benchmarks/bench_ijb.py

bench-intervals: setup ## How often intervals hold the truth, by simulation, and their time at IJB-C's size
	$(BIN)/python tests/benchmarks/bench_intervals.py

bench-checkpoint: setup ## What a checkpoint a minute costs the training, waited for and behind the steps (7 minutes)
	$(BIN)/python tests/benchmarks/bench_checkpoint.py

bench-data: setup ## Batches beside a bare loop of decoding (FACES=folder with train.rec), sets of 6 and 42 million images
	$(BIN)/python tests/benchmarks/bench_data.py $(FACES)

GRAPH ?= iresnet18
bench-trainer: setup ## A step beside a bare TrainOneStepCell: time, kernels (GRAPH=iresnet100), traffic, the head's memory
	$(BIN)/python tests/benchmarks/bench_trainer.py --graph $(GRAPH)

bench-partial-fc: setup ## The head at a million classes for shares of them: memory and time (PFC="--faces FOLDER": accuracy)
	$(BIN)/python tests/benchmarks/bench_partial_fc.py $(PFC)

KILLS ?= 20
bench-recovery: setup ## A rank or a launcher killed at a random step (KILLS=20), by each rung: noticed, started, first new step
	$(BIN)/python tests/benchmarks/bench_recovery.py $(KILLS)

JOBS ?= 1000
MINUTES ?= 30
IMAGE ?= work/scale.png
GANGS ?= 512 4096
bench-scale: setup ## A day of 1,000 jobs of 8 pods, played in minutes (JOBS=100 MINUTES=5 SEED=0 GANGS="512 4096"): memory, requests, reactions
	$(BIN)/python tests/benchmarks/bench_scale.py --jobs $(JOBS) --minutes $(MINUTES) --seed $(SEED) --image $(IMAGE) --gangs $(GANGS)

bench-elastic: setup ## Four pods, then two, then four again, on real training (SEED=0): each step has the images that it has undisturbed (ELASTIC="--faces FOLDER": accuracy on real faces, too, 40 minutes)
	$(BIN)/python tests/benchmarks/bench_elastic.py $(SEED) $(ELASTIC)

bench-start: setup ## Where the seconds of a rank's start go, the first time and again in the same pod
	$(BIN)/python tests/benchmarks/bench_start.py

dashboard-images: quickstart ## Draw docs/images from the quickstart on a real kubelet (needs root; 5 minutes more)
	PYTHONPATH=tests $(BIN)/python tests/benchmarks/dashboard_images.py

page-image: quickstart ## Draw docs/images/evaluation.png: the page of the quickstart's checkpoint (needs Chromium)
	$(BIN)/arcface evaluate pairs --checkpoint work/quickstart/volumes/checkpoints/quickstart --report work/page \
	  --bin $(foreach set,lfw cfp_fp agedb_30 calfw cplfw,work/quickstart-faces/$(set).bin)
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --blink-settings=preferredColorScheme=1 \
	  --window-size=1280,1925 --screenshot=docs/images/evaluation.png file://$(CURDIR)/work/page/report.html

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

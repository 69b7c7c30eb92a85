# make help tells what there is. Nothing needs installing but Go: the tools are pinned in
# tools/, each in a module of its own, and built on first use.

BUF  := go tool -modfile=tools/buf/go.mod buf
LINT := go tool -modfile=tools/lint/go.mod golangci-lint
FUZZ ?= 30s

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## the programs, into bin/
	go build -o bin/ ./cmd/...

.PHONY: test
test: ## all tests
	.ci/run tests

.PHONY: race
race: ## the tests of what is concurrent, under the race detector
	.ci/run race

.PHONY: lint
lint: ## what the linters say of Go and .proto files
	$(LINT) run
	$(BUF) lint

.PHONY: format
format: ## put Go and .proto files into their form
	$(LINT) fmt
	$(BUF) format -w

.PHONY: generate
generate: ## Go code from the .proto files
	$(BUF) generate

.PHONY: contract
contract: ## at a release: the contract that later changes are held to
	$(BUF) build messages/proto --exclude-source-info -o messages/testdata/contract.txtpb

.PHONY: fuzz
fuzz: ## each fuzz target for a while (FUZZ=30s)
	FUZZ=$(FUZZ) .ci/run fuzz

RUNS ?= 10
SEED ?= 1

.PHONY: chaos
chaos: ## RUNS=10 runs of a minute on each stage, from SEED=1 on, and their proof
	go test ./tests -run '^TestChaos$$' -v -timeout 24h -args -chaos.runs=$(RUNS) -chaos.time=60s -chaos.seed=$(SEED)

.PHONY: kills
kills: ## a node is killed at every point of a checkout, and 10,000 transfers add up
	go test ./node -run '^TestKilled|^TestTransfers$$' -v -timeout 2h -args -kills=0 -transfers=10000
	go test ./tests -run '^TestKillUnderLoad$$' -v -args -kill.rounds=20
	go test ./examples/shop -run AnyWorld -v -timeout 1h -args -runs=100000 -orders=1

.PHONY: projection-kills
projection-kills: ## 50 kills of a node that projects, during 100,000 events
	go test ./tests -run '^TestProjectionsKilled$$' -v -timeout 1h -args -projections.kills=50 -projections.events=100000

.PHONY: projection-takeovers
projection-takeovers: ## the nodes that project are killed 10 times, and others take over
	go test ./tests -run '^TestProjectionsTakenOver$$' -v -timeout 1h -args -projections.takeovers=10

.PHONY: bench
bench: ## the benchmarks
	go test ./... -run '^$$' -bench . -benchmem

.PHONY: bench-check
bench-check: ## is Holdfast still as fast beside the raw engine as was recorded?
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	go run ./cmd/node bench --rounds 9 --out "$$dir/now.json" && \
	go run ./cmd/node bench compare docs/benchmarks/recorded.json "$$dir/now.json" --tolerance 0.25

.PHONY: bench-page
bench-page: ## measure all workloads but soak anew, in half an hour, and write the tables of docs/benchmarks.md
	go run ./cmd/node bench one-caller hot many flood create ten load replay return gateway remote saga failover \
		--mode all --for 1s --out docs/benchmarks/suite.json
	go run ./cmd/node bench page docs/benchmarks.md

.PHONY: ci
ci: ## everything that must hold before a change is merged
	.ci/run

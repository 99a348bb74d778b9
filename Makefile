# `make play` and `make test` are all that most people need; they need Go, git,
# make and, for the race detector, gcc.

SHELL := /bin/bash -o pipefail
MAKEFLAGS += --no-print-directory

export PLAYER ?= Alice
# How long `make soak` simulates, and how long `make fuzz` and `make test` run
# each fuzz target.
SOAK ?= 10m
FUZZ ?= 5m
FUZZ_SHORT ?= 2s

# The version is built into the programs if git knows it.
VCS := $(shell git rev-parse --verify HEAD >/dev/null 2>&1 && echo true || echo false)
BUILD := go build -buildvcs=$(VCS)

# Tests that the machine does not allow are listed here; see internal/testenv.
export FOYER_NOT_RUN := $(CURDIR)/build/not-run

.PHONY: build play test bench bench-cluster bench-peers soak fuzz dist dist-check clean \
	check-format check-vet check-staticcheck check-fix check-modules check-systems check-fuzz check-tests

build:
	$(BUILD) -o bin/ ./registry ./roomd ./playerctl

play:
	@$(BUILD) -o bin/ ./registry ./roomd ./playerctl ./internal/play
	@bin/play -player "$$PLAYER" testdata/world.txt

# The quick checks come first and the tests last, so that their lines end the
# output.
test: check-format check-vet check-staticcheck check-fix check-modules check-systems check-fuzz check-tests

check-format:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')) && test -z "$$unformatted" || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }

check-vet:
	go vet ./...
	go vet -tags manpages ./internal/command

check-staticcheck:
	go tool staticcheck ./...

check-fix:
	@changes=$$(go fix -diff ./...) && test -z "$$changes" || { echo "go fix would change:"; echo "$$changes"; exit 1; }

check-modules:
	go mod tidy -diff
	go mod verify

check-systems:
	GOOS=darwin go vet ./...
	GOOS=windows go vet ./...

check-fuzz:
	@.ci/fuzz $(FUZZ_SHORT)

check-tests:
	@mkdir -p build && rm -f $(FOYER_NOT_RUN)
	go test -race -count=1 -timeout 8m ./...
	@if test -e $(FOYER_NOT_RUN); then sort -u $(FOYER_NOT_RUN); fi

# Every fuzz target for as long as FUZZ says.
fuzz:
	@.ci/fuzz $(FUZZ)

# With AGAINST=REVISION also the registry of that revision, in turns.
bench:
	go run ./bench $(if $(AGAINST),-against $(AGAINST))

# The same load on what people would use instead, which is installed first, as
# root on Debian or Ubuntu.
bench-peers:
	bench/peers/install
	go run ./bench/peers

# Registrations in an etcd cluster of three members, which is built first.
bench-cluster:
	go test -run '^$$' -bench Registrations -benchtime 1x ./storage/etcd

soak:
	FOYER_SOAK=$(SOAK) go test -count=1 -timeout 0 -run 'TestSimulation$$' -v ./internal/simulation
	FOYER_KILLS=100 FOYER_DAMAGES=1000 FOYER_REQUESTS=50000 go test -race -count=1 -timeout 0 \
		-run 'TestKill|TestDamagedFiles|TestLossyNetwork' -v ./internal/e2e ./registry ./storage/etcd
	$(MAKE) dist-check

# Archives, Debian packages and SHA256SUMS of what is committed, into build/dist.
dist:
	go run ./internal/dist

# The same files twice, byte for byte. `make test` checks that for one system.
dist-check: dist
	go run ./internal/dist build/dist-again
	diff -r build/dist build/dist-again

clean:
	rm -rf bin build

# Targets a person calls: bench, test; the rest is for those who work on objhash.

GO      ?= go
PKGS    := ./...
CORE    := ./shard ./engine ./refcount ./internal/...
FUZZFOR ?= 30s
GO_NEEDS := 1.26
RESULT_TARGETS := objhash,objhash-batch,index,index-batch,index-locked,xsync4,rwmutex-map,baseline-sized

.PHONY: bench test race lint fuzz soak results clean check-go test32 testbig examples

# The main job: a comparison over a few profiles, on screen and in results/.
bench: check-go
	@mkdir -p bin results
	$(GO) build -buildvcs=auto -o bin/crbench ./cmd/crbench
	bin/crbench run --profile lookup-hit,first-pass,checkpoint-zipf,replay \
		--target $(RESULT_TARGETS) --objects 200k --threads 1,2 --trials 6 --json results/bench.json

test: check-go
	$(GO) test -shuffle=on $(PKGS)
	$(GO) test -shuffle=on -tags objhash_invariants $(CORE)

race: check-go
	$(GO) test -race -timeout 30m -shuffle=on -cpu=2,4 $(CORE) ./bench/...

# The core as a 32-bit program.
test32: check-go
	.ci/test32 $(CORE) ./bench/baseline ./bench/trace

# The formats on a machine with the bytes the other way round.
testbig: check-go
	@qemu=$$(command -v qemu-s390x-static || command -v qemu-s390x) || \
		{ echo "this machine runs no programs for s390x: install qemu-user-static" >&2; exit 1; }; \
	CGO_ENABLED=0 GOARCH=s390x $(GO) test -short -run G22 -exec "$$qemu" ./engine ./bench/trace

lint: check-go
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt these files: $$unformatted"; exit 1; }
	$(GO) vet $(PKGS)
	$(GO) vet -tags 'objhash_invariants soak' $(PKGS)
	$(GO) tool staticcheck $(PKGS)

examples: check-go
	$(GO) run ./examples/sharedfiles

# Each fuzz target for FUZZFOR.
fuzz: check-go
	@for pkg in $$($(GO) list $(PKGS)); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "== $$pkg $$f"; \
			$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZFOR) $$pkg || exit 1; \
		done; \
	done

# Long jobs: hours on a slow machine.
soak: check-go
	$(GO) test -tags 'soak objhash_invariants' -timeout 6h $(CORE) ./bench/...
	$(GO) test -run '^$$' -fuzz '^FuzzSnapshot$$' -fuzztime 10000000x ./engine
	$(MAKE) fuzz FUZZFOR=10m

# Measures everything under results/ again, in about twenty minutes.
results: check-go
	@mkdir -p bin results
	$(GO) build -buildvcs=auto -o bin/crbench ./cmd/crbench
	bin/crbench run --profile lookup-hit,lookup-miss,first-pass,grow,checkpoint-zipf --target $(RESULT_TARGETS) \
		--objects 1e6 --threads 1,2 --trials 10 --json results/million.json > results/million.txt
	bin/crbench run --profile lookup-hit,lookup-miss,first-pass,grow,checkpoint-zipf,fork-storm,replay --target $(RESULT_TARGETS) \
		--objects 10k --threads 1,2 --trials 10 --json results/small.json > results/small.txt
	bin/crbench run --profile lookup-hit,first-pass,grow --target floor,index,index-batch,xsync4 \
		--objects 1e7 --threads 1 --trials 10 --json results/ten-million.json > results/ten-million.txt
	bin/crbench run --profile grow --target index,objhash,xsync4 --objects 1e7 --threads 1 --trials 1 --latency \
		--json results/pauses.json > results/pauses.txt
	bin/crbench run --profile lookup-hit,checkpoint-zipf --target index,index-batch,objhash,objhash-batch --objects 1e6 \
		--threads 2,64 --trials 10 --json results/many-threads.json > results/many-threads.txt
	bin/crbench run --profile restart-in-order,restart-parallel,restart-fetch,audit,snapshot,drop-all \
		--target objhash,baseline-sized --against baseline-sized --objects 1e6 --threads 1,2 --trials 10 --json results/restart.json > results/restart.txt
	bin/crbench run --profile count-private,count-hot,count-zipf,count-10k-tasks,count-verdict,count-drop \
		--target counter --threads 1,2,8,64 --trials 10 --json results/strategies.json > results/strategies.txt
	bin/crbench model --json results/model.json > results/model.txt

clean:
	rm -rf bin
	rm -f results/bench.json

check-go:
	@command -v $(GO) >/dev/null || { echo "objhash needs Go $(GO_NEEDS) or later; none is installed"; exit 1; }
	@$(GO) version | awk -v want=$(GO_NEEDS) '{ sub("go", "", $$3); split($$3, have, "."); split(want, need, "."); \
		if (have[1]+0 < need[1]+0 || have[1]+0 == need[1]+0 && have[2]+0 < need[2]+0) { \
			print "objhash needs Go " want " or later; this is " $$3; exit 1 } }'

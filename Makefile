# Targets a person calls: bench, test; the rest is for those who work on objhash.

GO      ?= go
PKGS    := ./...
CORE    := ./shard ./engine ./refcount ./internal/...
FUZZFOR ?= 30s
GO_NEEDS := 1.26
RUNS := small million ten-million many-threads pauses shares restart strategies
RESULT_TARGETS := objhash,objhash-batch,index,index-batch,index-locked,xsync4,rwmutex-map,baseline-sized

.PHONY: bin/crbench bench test race lint fuzz soak results clean check-go test32 testbig examples

# The main job: a comparison over a few profiles, on screen and in results/bench/.
bench: bin/crbench
	rm -rf results/bench
	bin/crbench run --profile lookup-hit,first-pass,checkpoint-zipf,replay \
		--target $(RESULT_TARGETS) --objects 200k --threads 1,2 --trials 6 --out results/bench
	bin/crbench report results/bench -o results/bench/report.html

bin/crbench: check-go
	@mkdir -p bin
	$(GO) build -buildvcs=auto -o $@ ./cmd/crbench

test: check-go
	$(GO) test -shuffle=on $(PKGS)
	$(GO) test -shuffle=on -tags objhash_invariants $(CORE)

race: check-go
	$(GO) test -race -timeout 30m -shuffle=on -cpu=2,4 $(CORE)
	$(GO) test -race -timeout 30m -shuffle=on -short ./bench/...

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

# Measures everything under results/ again, in about forty minutes.
results: bin/crbench
	rm -rf $(addprefix results/,$(RUNS))
	bin/crbench run --out results/small --profile lookup-hit,lookup-miss,first-pass,grow,checkpoint-zipf,fork-storm,replay \
		--target $(RESULT_TARGETS) --objects 1k,10k,100k --threads 1,2 > /dev/null
	bin/crbench run --out results/million --profile lookup-hit,lookup-miss,first-pass,grow,checkpoint-zipf \
		--target $(RESULT_TARGETS) --objects 1e6 --threads 1,2 > /dev/null
	bin/crbench run --out results/ten-million --profile lookup-hit,first-pass,grow \
		--target floor,index,index-batch,xsync4 --objects 1e7 --threads 1 --rss=false > /dev/null
	bin/crbench run --out results/many-threads --profile lookup-hit,checkpoint-zipf \
		--target floor,index,index-batch,objhash,objhash-batch,xsync4,rwmutex-map --objects 1e6 --threads 1,2,8,64 --rss=false > /dev/null
	bin/crbench run --out results/pauses --profile grow --target index,objhash,xsync4 --objects 1e7 --threads 1 --trials 1 \
		--latency --latency-every 1 --rss=false > /dev/null
	bin/crbench run --out results/shares --profile lookup-hit,first-pass,checkpoint-zipf --target $(RESULT_TARGETS) --objects 1e6 --threads 1,2 \
		--trials 1 --cpuprofile --cpuprofile-time 1s --rss=false > /dev/null
	bin/crbench run --out results/restart --profile restart-in-order,restart-parallel,restart-fetch,audit,snapshot,drop-all \
		--target objhash,baseline-sized --against baseline-sized --objects 1e6 --threads 1,2 --rss=false > /dev/null
	bin/crbench run --out results/strategies --profile count-private,count-hot,count-zipf,count-10k-tasks,count-verdict,count-drop \
		--target counter --threads 1,2,8,64 --rss=false > /dev/null
	bin/crbench model --json results/model.json > results/model.txt
	bin/crbench report $(addprefix results/,$(RUNS)) results/model.json -o results/report.html

clean:
	rm -rf bin
	rm -rf results/bench

check-go:
	@command -v $(GO) >/dev/null || { echo "objhash needs Go $(GO_NEEDS) or later; none is installed"; exit 1; }
	@$(GO) version | awk -v want=$(GO_NEEDS) '{ sub("go", "", $$3); split($$3, have, "."); split(want, need, "."); \
		if (have[1]+0 < need[1]+0 || have[1]+0 == need[1]+0 && have[2]+0 < need[2]+0) { \
			print "objhash needs Go " want " or later; this is " $$3; exit 1 } }'

//go:build amd64 && !race && !purego && !objhash_invariants

package shard

import (
	"math/bits"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
	"golang.org/x/sys/cpu"
)

// vectorKernels are the kernels that are to do as Go does.
func vectorKernels(t *testing.T) []kernel {
	t.Helper()
	list := supportedKernels()[1:]
	if len(list) == 0 {
		t.Skip("this processor runs none of the kernels")
	}
	return list
}

// lookupSetting is a kernel, and which of its two batch lookups are to be used.
type lookupSetting struct {
	name   string
	kernel kernel
	near   int64 // nearBytesMax
}

// lookupKernels are the kernels, those that tell by size which batch lookup to use twice:
// for each of the two.
func lookupKernels(t *testing.T) (list []lookupSetting) {
	t.Helper()
	for _, k := range vectorKernels(t) {
		list = append(list, lookupSetting{"kernel=" + k.String(), k, 0})
		if k == kernelAVX512 {
			list = append(list, lookupSetting{"kernel=" + k.String() + "/near", k, 1 << 62})
		}
	}
	return list
}

func (s *lookupSetting) use(t *testing.T) {
	useKernel(t, s.kernel)
	old := nearBytesMax
	t.Cleanup(func() { nearBytesMax = old })
	nearBytesMax = s.near
}

// arranged is an index whose tables a test fills as it likes, with addresses to ask for.
type arranged struct {
	*Compact
	ptrs []uint64
}

// arrange makes an index of 1<<shardBits shards whose tables have groups in every state:
// empty, begun, full, closed at any slot; entries at any slot and distance from home,
// those of remainder 0 among them; and addresses that are there, that are almost there,
// and that are not.
func arrange(t *testing.T, r *rand.Rand, shardBits uint) arranged {
	t.Helper()
	x, err := NewCompact(Config{Shards: 1 << shardBits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	a := arranged{Compact: x}
	for i := range x.dir {
		var m mixer
		if r.IntN(8) == 0 {
			m = newMixer(addrBits - shardBits)
		}
		ref, groups := int32(1), uint64(groupsMin+r.IntN(31))
		if r.IntN(3) == 0 {
			ref = int32(newLayout(shardBits, uint(bits.Len64(groups)-1), true).refMask) + 1 // no room for a tag
		}
		tab, err := newTable(x.arena, span{shardBits, i, 1}, groups, ref, m)
		if err != nil {
			t.Fatal(err)
		}
		a.fill(r, tab)
		if r.IntN(8) == 0 {
			for j := range tab.groups {
				*tab.group(j) = group{} // what a table that was released shows
			}
		}
		x.dir[i].tab.Store(tab)
	}
	for i := range 40 {
		a.ptrs = append(a.ptrs, heapAddress(r.IntN(1000)), wideAddress(i), r.Uint64())
	}
	a.ptrs = append(a.ptrs, 0, 1, 1<<64-1, 1<<47-1, 1<<47, 1<<64-1<<47, 1<<64-1<<47-1)
	r.Shuffle(len(a.ptrs), func(i, j int) { a.ptrs[i], a.ptrs[j] = a.ptrs[j], a.ptrs[i] })
	return a
}

func (a *arranged) fill(r *rand.Rand, tab *table) {
	fullness := r.IntN(groupSlots) // of most groups, at least
	for i := range tab.groups {
		g := tab.group(i)
		n := r.IntN(groupSlots + 1)
		if r.IntN(3) > 0 {
			n = max(n, fullness)
		}
		if r.IntN(3) == 0 {
			n = groupSlots
		}
		for j := range n {
			remainder := r.Uint64() << tab.low
			if r.IntN(8) == 0 {
				remainder = r.Uint64N(3) << tab.low
			}
			dist := uint64(0)
			if r.IntN(2) == 0 {
				dist = r.Uint64N(ProbeGroupsMax)
			}
			ref := 1 + r.Int32N(int32(min(tab.refMask, 1<<30)))
			w := remainder + dist*tab.step | tab.entry(ref, uint8(r.UintN(255)))
			g[j] = w
			h := tab.unplace(i, w)
			// It, and one that has another remainder in the same group.
			a.ptrs = append(a.ptrs, a.address(h), a.address(h^1<<addrPad))
		}
		if n < groupSlots && r.IntN(3) == 0 {
			g[n] = tab.frozen
		}
		if n < groupSlots && r.IntN(2) == 0 {
			a.ptrs = append(a.ptrs, a.address(tab.unplace(i, 0))) // a key of 0
		}
	}
}

// Every kernel says what the Go code says, of tables in every state, one address at a
// time and in batches of all lengths, at all alignments, with and without tags.
func TestKernelsAgainstGo(t *testing.T) {
	r := seeded(t)
	for _, k := range lookupKernels(t) {
		t.Run(k.name, func(t *testing.T) {
			k.use(t)
			for i := range sized(600) {
				a := arrange(t, r, uint(i%5))
				for _, ptr := range a.ptrs {
					want, wantTag := a.lookupGo(ptr)
					if ref, tag := a.Lookup(ptr); ref != want || ref != 0 && tag != wantTag {
						t.Fatalf("Lookup(%#x) = %d, tag %d; Go says %d, tag %d", ptr, ref, tag, want, wantTag)
					}
				}
				for rest := a.ptrs; len(rest) > 0; {
					n := min(1+r.IntN(100), len(rest))
					testBatchAgainstGo(t, a.Compact, rest[:n], r.IntN(2) == 0)
					rest = rest[n:]
				}
				testBatchAgainstGo(t, a.Compact, a.ptrs, true)
				whole := slices.Concat(a.ptrs, a.ptrs, a.ptrs, a.ptrs)
				testBatchAgainstGo(t, a.Compact, whole[:min(kernelBatch, len(whole))], false)
				a.Close()
			}
			x := arrange(t, r, 2)
			for n := range 100 {
				testBatchAgainstGo(t, x.Compact, x.ptrs[:n], true)
				testBatchAgainstGo(t, x.Compact, x.ptrs[n:n+n], false)
			}
		})
	}
}

func testBatchAgainstGo(t *testing.T, x *Compact, ptrs []uint64, withTags bool) {
	t.Helper()
	const guard = 0x55
	n := len(ptrs)
	refs, want := make([]int32, n+1), make([]int32, n)
	refs[n] = guard
	var tags, wantTags []uint8
	if withTags {
		tags, wantTags = make([]uint8, n+1), make([]uint8, n)
		tags[n] = guard
	}
	wantFound := x.lookupBatchGo(ptrs, want, wantTags)
	if found := x.LookupBatch(ptrs, refs[:n], tags[:max(0, len(tags)-1)]); found != wantFound {
		t.Fatalf("LookupBatch of %d = %d; Go says %d", n, found, wantFound)
	}
	for i, ptr := range ptrs {
		if refs[i] != want[i] || withTags && want[i] != 0 && tags[i] != wantTags[i] {
			t.Fatalf("LookupBatch of %d: element %d, %#x, has %d, tags %v; Go says %d, tags %v", n, i, ptr, refs[i], tags, want[i], wantTags)
		}
	}
	if refs[n] != guard || withTags && tags[n] != guard {
		t.Fatalf("LookupBatch of %d wrote beyond the end", n)
	}
}

// The answer comes from a table that was published when it was read: tables are replaced
// all the time, and what they hold afterwards is wrong.
func TestKernelsNoticeReplacedTables(t *testing.T) {
	for _, k := range lookupKernels(t) {
		t.Run(k.name, func(t *testing.T) {
			k.use(t)
			x, err := NewCompact(Config{Shards: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			s := &x.dir[0]
			var ptrs [groupSlots]uint64
			// publish publishes a table that has ptrs, and spoils the one before.
			publish := func() {
				tab, err := newTable(x.arena, span{count: 1}, groupsMin, 1000, mixer{})
				if err != nil {
					t.Error(err)
					return
				}
				for i := range ptrs {
					// Home 1, remainders 0 to 7.
					ptrs[i] = x.address(tab.unplace(1, uint64(i)<<tab.low))
					tab.group(1)[i] = uint64(i)<<tab.low | tab.entry(int32(i+1), 1)
				}
				old := s.tab.Load()
				s.tab.Store(tab)
				for i := range ptrs {
					w := uint64(i)<<old.low | old.entry(int32(i+100), 1)
					if i%3 == 0 {
						w = 0
					}
					atomic.StoreUint64(&old.group(1)[i], w)
				}
				x.arena.Release(old.base, old.bytes())
			}
			publish()
			testWhile(t, publish, func() (ok bool) {
				var refs [groupSlots]int32
				x.LookupBatch(ptrs[:], refs[:], nil)
				for i, ptr := range ptrs {
					ref, _ := x.Lookup(ptr)
					if ref != int32(i+1) || refs[i] != ref {
						t.Errorf("Lookup of entry %d = %d, LookupBatch %d; want %d", i, ref, refs[i], i+1)
						return false
					}
				}
				return true
			})
		})
	}
}

// An empty slot matches a key of 0. That it is taken by another entry before it is looked
// at again does not make that the answer.
func TestKernelsKeyZeroBesideInserts(t *testing.T) {
	for _, k := range lookupKernels(t) {
		t.Run(k.name, func(t *testing.T) {
			k.use(t)
			x, err := NewCompact(Config{Shards: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer x.Close()
			tab := x.dir[0].tab.Load()
			slot := &tab.group(1)[0]
			ptrs := []uint64{x.address(tab.unplace(1, 0))}
			for range 8 {
				ptrs = append(ptrs, ptrs[0])
			}
			refs := make([]int32, len(ptrs))
			toggle := func() {
				for range 100 {
					atomic.StoreUint64(slot, 5<<tab.low|tab.entry(7, 1))
					atomic.StoreUint64(slot, 0)
				}
			}
			testWhile(t, toggle, func() (ok bool) {
				ref, _ := x.Lookup(ptrs[0])
				if found := x.LookupBatch(ptrs, refs, nil); ref != 0 || found != 0 {
					t.Errorf("Lookup of an absent address = %d; LookupBatch found %d, %d", ref, found, refs)
					return false
				}
				return true
			})
		})
	}
}

// testWhile runs check on some threads for as long as it is right, but not for long,
// while another runs disturb all the time.
func testWhile(t *testing.T, disturb func(), check func() (ok bool)) {
	oversubscribe(t)
	var stop atomic.Bool
	timer := time.AfterFunc(time.Duration(sized(400))*time.Millisecond, func() { stop.Store(true) })
	defer timer.Stop()
	together(3, func(w int) {
		for !stop.Load() {
			if w == 0 {
				disturb()
			} else if !check() {
				stop.Store(true)
			}
		}
	})
}

// What the kernels see of a table is what Go sees.
func TestKernelTable(t *testing.T) {
	for _, shardBits := range []uint{0, 1, 4, 16} {
		for groups := uint64(groupsMin); groups < 100; groups += 1 + groups/5 {
			x, err := NewCompact(Config{Shards: 1 << shardBits})
			if err != nil {
				t.Fatal(err)
			}
			for _, ptr := range []uint64{heapAddress(1), heapAddress(2), heapAddress(3), 1, ^uint64(0)} {
				s, h := x.hash(ptr)
				hash := ptr * x.asm.mul
				entry := hash >> x.asm.shift >> dirEntryLog
				if s != &x.dir[entry] {
					t.Errorf("%d shard bits: address %#x is not of entry %d, which the kernels see", shardBits, ptr, entry)
				}
				tab, err := newTable(region.NewArena(nil), span{shardBits, int(entry), 1}, groups, 1, mixer{})
				if err != nil {
					t.Fatal(err)
				}
				home, key := tab.place(h)
				if n, _ := bits.Mul64(hash, tab.asm.scale); tab.asm.origin+n*groupBytes != uint64(uintptr(unsafe.Pointer(tab.group(home)))) {
					t.Errorf("%d shard bits, %d groups: address %#x has home %d; the kernels see another", shardBits, groups, ptr, home)
				}
				if got := hash << tab.asm.keyShift; got != key {
					t.Errorf("%d shard bits, %d groups: address %#x has key %#x; the kernels see %#x", shardBits, groups, ptr, key, got)
				}
			}
			x.Close()
		}
	}
}

// A kernel is used only where the processor has all that it is made of: a hypervisor may hide
// any of it.
func TestKernelsNeedAllOfTheirInstructions(t *testing.T) {
	x := &cpu.X86
	features := map[kernel][]*bool{
		kernelAVX2:   {&x.HasBMI1, &x.HasBMI2, &x.HasAVX2},
		kernelAVX512: {&x.HasBMI1, &x.HasBMI2, &x.HasAVX512F, &x.HasAVX512DQ, &x.HasAVX512VL},
	}
	for k, has := range features {
		for _, f := range has {
			old := *f
			t.Cleanup(func() { *f = old })
			*f = true
		}
		if !k.supported() {
			t.Errorf("%v is not supported by a processor that has all of it", k)
		}
		for i, f := range has {
			*f = false
			if k.supported() {
				t.Errorf("%v is supported without feature %d of its", k, i)
			}
			*f = true
		}
	}
}

// The assembly is what the generator makes.
func TestKernelsAreGenerated(t *testing.T) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command here to run the generator")
	}
	dir := t.TempDir()
	gen := filepath.Join(dir, "gen")
	if runtime.GOOS == "windows" {
		gen += ".exe"
	}
	build := exec.Command(goCommand, "build", "-o", gen, "./internal/gen")
	build.Env = append(os.Environ(), "GOPROXY=off")
	if out, err := build.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "GOPROXY=off") || strings.Contains(string(out), "cannot find") {
			t.Skipf("avo is not in the module cache: %s", out)
		}
		t.Fatalf("building the generator: %v\n%s", err, out)
	}
	const file = "kernel_amd64.s"
	run := exec.Command(gen, "-out", file)
	run.Dir = dir
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("generating: %v\n%s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is not what the generator makes: run go generate ./shard", file)
	}
}

package target

// All returns every target: the project's own first, then the table of 2008,
// then the peers, then what is no table. Those that take a strategy are there once,
// by their plain name.
func All() []Spec {
	return []Spec{
		index, indexBatch, indexLocked,
		objhash, objhashBatch,
		baseline2008, baselineSized,
		mutexMap, rwmutexMap, blcr, syncMap, xsync3, xsync4,
		counter, floor,
	}
}

// Find returns the target of that plain name.
func Find(name string) (Spec, bool) {
	for _, s := range All() {
		if s.Name == name {
			return s, true
		}
	}
	return Spec{}, false
}

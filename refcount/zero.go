package refcount

// tell calls zero for each of refs, no matter what it does: if it panics or exits, the
// others are told before that travels on.
func tell(zero func(int32), refs ...int32) {
	i := 0
	defer func() {
		if i < len(refs) {
			tell(zero, refs[i+1:]...)
		}
	}()
	for ; i < len(refs); i++ {
		zero(refs[i])
	}
}

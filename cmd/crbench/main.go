// Command crbench measures what it costs and gains to let many threads share
// one checkpoint's object table: this project's tables, the table of 2008, and
// the maps people use instead, under the same load profiles.
//
// Exit codes: 0 all is well; 1 an error, a target that failed verification
// among them; 2 wrong usage; 3 a threshold that was crossed.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program the hard way.
	context.AfterFunc(ctx, stop)
	code := execute(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

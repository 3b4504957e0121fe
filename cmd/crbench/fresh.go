package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench"
)

// freshName is the sub-command by which crbench has itself do a trial in a new process.
const freshName = "fresh-trial"

// freshTrial does a trial in a process of its own.
func freshTrial(ctx context.Context, f bench.FreshTrial) (out bench.FreshOutcome, err error) {
	self, err := os.Executable()
	if err != nil {
		return out, fmt.Errorf("starting a fresh process: %w", err)
	}
	trial, err := json.Marshal(f)
	if err != nil {
		return out, fmt.Errorf("telling a fresh process what to do: %w", err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, self)
	cmd.Args = []string{"crbench", freshName}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(trial), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return out, fmt.Errorf("a trial in a fresh process: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		return out, fmt.Errorf("the answer of a fresh process: %w", err)
	}
	return out, nil
}

func newFreshTrial() *cobra.Command {
	return &cobra.Command{
		Use:    freshName,
		Short:  "Do the trial that standard input describes, for its resident memory",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			var f bench.FreshTrial
			if err := json.NewDecoder(cmd.InOrStdin()).Decode(&f); err != nil {
				return fmt.Errorf("reading the trial: %w", err)
			}
			out, err := f.Run(cmd.Context())
			if err != nil {
				return err
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(out)
		}),
	}
}

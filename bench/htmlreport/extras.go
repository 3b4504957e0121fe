package htmlreport

// extras are the parts of a document that only some runs have. They are read beside
// bench.Report; all may be missing.
type extras struct {
	Started    string             `json:"started"`
	Finished   string             `json:"finished"`
	Profiles   []profileSource    `json:"profiles"`
	Thresholds []thresholdOutcome `json:"thresholds"`
	Pairs      []pair             `json:"pairs"`
	HarnessNs  float64            `json:"harness_ns_per_op"`
	Results    []*resultExtras    `json:"results"`
}

// profileSource is a load profile as it was resolved.
type profileSource struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	SHA256 string `json:"sha256"`
	TOML   string `json:"toml"`
}

// thresholdOutcome is a limit of a profile, and what was measured.
type thresholdOutcome struct {
	Profile string  `json:"profile"`
	Target  string  `json:"target"`
	Objects int     `json:"objects"`
	Threads int     `json:"threads"`
	What    string  `json:"what"`
	Limit   float64 `json:"limit"`
	Value   float64 `json:"value"`
	Crossed bool    `json:"crossed"`
}

// pair is the comparison of two targets in a cell, from their trials.
type pair struct {
	Profile     string  `json:"profile"`
	Objects     int     `json:"objects"`
	Threads     int     `json:"threads"`
	Target      string  `json:"target"`
	Against     string  `json:"against"`
	TimesFaster span    `json:"times_faster"`
	P           float64 `json:"p"`
}

// span is a median and its interval.
type span struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// resultExtras belong to the result of the same index.
type resultExtras struct {
	Outliers          []int     `json:"outliers"`
	RSSBytesPerObject *float64  `json:"rss_bytes_per_object"`
	Unsteady          bool      `json:"unsteady"`
	CPU               *cpuUsage `json:"cpu"`
}

// cpuUsage says what the CPU time of a result was spent on.
type cpuUsage struct {
	Samples int                `json:"samples"`
	Shares  map[string]float64 `json:"shares"`
}

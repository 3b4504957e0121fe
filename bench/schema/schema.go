// Package schema has the JSON Schema of what crbench run writes.
package schema

import _ "embed"

// CRBench1 describes the documents objhash.crbench/1, by JSON Schema 2020-12. It allows no
// fields beside those that it describes: documents of a later version that has more of them
// come with a schema of their own, and readers that want to accept these must leave
// additionalProperties out of account.
//
//go:embed crbench-1.schema.json
var CRBench1 []byte

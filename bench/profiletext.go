package bench

import (
	"crypto/sha256"
	"fmt"

	"github.com/pelletier/go-toml/v2"
)

// ProfileText is a load profile as reports keep it.
type ProfileText struct {
	Name   string `json:"name"`
	Source string `json:"source"` // SourceEmbedded, or the file it was read from
	SHA256 string `json:"sha256"` // of TOML
	TOML   string `json:"toml"`   // all of it, nothing left to defaults
}

// SourceEmbedded says that a profile is one of those inside crbench.
const SourceEmbedded = "embedded"

// Text returns the profile as reports keep it.
func (p *Profile) Text() (ProfileText, error) {
	b, err := toml.Marshal(p)
	if err != nil {
		return ProfileText{}, fmt.Errorf("profile %s: %w", p.Name, err)
	}
	return ProfileText{Name: p.Name, Source: SourceEmbedded, SHA256: fmt.Sprintf("%x", sha256.Sum256(b)), TOML: string(b)}, nil
}

func profileTexts(profiles []Profile) (texts []ProfileText, err error) {
	for i := range profiles {
		t, err := profiles[i].Text()
		if err != nil {
			return nil, err
		}
		texts = append(texts, t)
	}
	return texts, nil
}

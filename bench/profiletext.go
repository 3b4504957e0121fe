package bench

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
func (p Profile) Text() ProfileText {
	source := p.Source
	if source == "" {
		source = SourceEmbedded
	}
	return ProfileText{Name: p.Name, Source: source, SHA256: p.Hash(), TOML: string(p.TOML())}
}

func profileTexts(profiles []Profile) (texts []ProfileText) {
	for _, p := range profiles {
		texts = append(texts, p.Text())
	}
	return texts
}

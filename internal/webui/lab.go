package webui

import (
	"time"

	"github.com/chate2e/chate2e/internal/client"
)

type labSend struct {
	From string `json:"from"`
	Text string `json:"text"`
}

type labVerb struct {
	Verb   string `json:"verb"` // deliver, drop, flip
	Number int    `json:"number"`
}

func (v labVerb) do(l *client.Lab) error {
	switch v.Verb {
	case "deliver":
		return l.Deliver(v.Number, time.Now())
	case "drop":
		return l.Drop(v.Number)
	case "flip":
		return l.Flip(v.Number)
	default:
		return &client.Error{Code: client.CodeUsage, Message: "an envelope can be delivered, dropped and flipped"}
	}
}

// laboratory returns the lab, which is made when somebody looks at it; anew makes
// another one.
func (a *App) laboratory(anew bool) (*client.Lab, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lab == nil || anew {
		lab, err := client.NewLab(time.Now())
		if err != nil {
			return nil, err
		}
		a.lab = lab
	}
	return a.lab, nil
}

// inLab does something in the lab and returns what is to be seen then.
func (a *App) inLab(anew bool, do func(*client.Lab) error) (client.LabState, error) {
	lab, err := a.laboratory(anew)
	if err == nil {
		err = do(lab)
	}
	if err != nil {
		return client.LabState{}, err
	}
	return lab.State(), nil
}

package recovery

import "slices"

// Role is the place of a segment in the log.
type Role uint8

// The roles.
const (
	RoleLast    Role = iota // the newest one whose opening group verifies
	RoleEarlier             // one that a later segment follows
	RoleBeyond              // newer than the last
	roles
)

// FileState is what became of a segment's file.
type FileState uint8

// The states of a file.
const (
	FileSound      FileState = iota
	FileHeaderless           // neither copy of the header verifies, or it is another's
	FileAbsent
	FileUnreadable
	FileShort // shorter than it was made, and nothing durable says that it may be
	fileStates
)

// Facts is all that is known of one segment when it is judged.
type Facts struct {
	Role Role
	File FileState

	// Below: X < W. Of a segment beyond the last: a header in it claims more
	// than the segment's header as durable.
	Below bool

	// Torn: something that is not zero stands at X, or X cuts a group; of an
	// earlier segment: X is before its end.
	Torn bool

	// Sealed: a seal verifies behind the end, or somewhere behind X.
	Sealed bool

	// Unproved: a frame before the end is covered by no watermark.
	Unproved bool
}

// Verdict is what a segment is found to be.
type Verdict uint8

// The verdicts.
const (
	Sound Verdict = iota
	Unproved
	Torn
	Leftover
	Corrupt
	Unreadable
)

// Action is what is to be done about a segment.
type Action uint8

// The actions.
const (
	Keep Action = iota
	Rewrite
	Cut
	RewriteAndCut
	Remove
	Refuse
)

// fact is a condition of a row on one truth value.
type fact uint8

const (
	any fact = iota
	yes
	no
)

func (c fact) holds(v bool) bool { return c == any || (c == yes) == v }

// Row is one line of the decision table.
type Row struct {
	Label   string
	roles   []Role
	file    []FileState
	below   fact
	torn    fact
	sealed  fact
	unprove fact
	Verdict Verdict
	Action  Action
	Why     string
}

var (
	everyRole = []Role{RoleLast, RoleEarlier, RoleBeyond}
	last      = []Role{RoleLast}
	earlier   = []Role{RoleEarlier}
	beyond    = []Role{RoleBeyond}
	sound     = []FileState{FileSound}
)

// table is the decision table of the package comment: for each combination of
// facts exactly one row matches.
var table = []Row{
	{"@A", everyRole, []FileState{FileUnreadable}, any, any, any, any, Unreadable, Refuse, "the file cannot be read"},
	{"@B", everyRole, []FileState{FileAbsent}, any, any, any, any, Corrupt, Refuse, "the file is missing"},
	{"@C", everyRole, []FileState{FileHeaderless}, any, any, any, any, Corrupt, Refuse, "the header does not verify"},
	{"@D", last, sound, any, any, yes, any, Corrupt, Refuse, "it is sealed, and the segment that follows is not there"},
	{"@E", last, sound, yes, any, no, any, Corrupt, Refuse, "it fails below the watermark"},
	{"@F", last, sound, no, no, no, no, Sound, Keep, "it ends clean and is proved"},
	{"@G", last, sound, no, no, no, yes, Unproved, Rewrite, "it ends clean, and not all of it is proved"},
	{"@H", last, sound, no, yes, no, no, Torn, Cut, "its tail is torn"},
	{"@I", last, sound, no, yes, no, yes, Torn, RewriteAndCut, "its tail is torn, and not all before is proved"},
	{"@J", earlier, sound, yes, any, any, any, Corrupt, Refuse, "it fails where it was durable"},
	{"@K", earlier, sound, no, no, any, no, Sound, Keep, "it is whole and proved"},
	{"@L", earlier, sound, no, no, any, yes, Unproved, Rewrite, "it is whole, and not all of it is proved"},
	{"@M", earlier, sound, no, yes, any, any, Torn, RewriteAndCut, "it ran ahead of its syncs and is torn"},
	{"@N", beyond, sound, yes, any, any, any, Corrupt, Refuse, "its opening group was durable and does not verify"},
	{"@O", beyond, sound, no, no, any, any, Leftover, Remove, "it was made ready and not used"},
	{"@P", beyond, sound, no, yes, any, any, Leftover, Remove, "its opening group is torn"},
	{"@Q", everyRole, []FileState{FileShort}, any, any, any, any, Corrupt, Refuse, "the file was cut off"},
}

func (r *Row) matches(f Facts) bool {
	return slices.Contains(r.roles, f.Role) && slices.Contains(r.file, f.File) &&
		r.below.holds(f.Below) && r.torn.holds(f.Torn) && r.sealed.holds(f.Sealed) && r.unprove.holds(f.Unproved)
}

// Decide returns the row of the table that holds for f.
func Decide(f Facts) Row {
	for _, r := range table {
		if r.matches(f) {
			return r
		}
	}
	panic("recovery: no row for these facts") // TestEveryCombinationMatchesOneRow
}

// Labels returns the labels of all rows, in order.
func Labels() []string {
	var labels []string
	for _, r := range table {
		labels = append(labels, r.Label)
	}
	return labels
}

//go:build !linux && !darwin

package bolt

import (
	"errors"
	"os"
)

// freeSpace does not know: writing will tell.
func freeSpace(*os.File) (uint64, error) { return 0, errors.ErrUnsupported }

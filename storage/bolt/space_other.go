//go:build !linux && !darwin

package bolt

import "errors"

// freeSpace does not know: writing will tell.
func freeSpace(string) (uint64, error) { return 0, errors.ErrUnsupported }

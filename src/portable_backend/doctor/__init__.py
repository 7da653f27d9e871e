"""What ``portable-backend doctor`` looks at: parts of the machine, each with what it would enable and its cure."""

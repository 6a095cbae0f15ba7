"""Many runs after one plan."""

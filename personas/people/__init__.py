"""What a person is: acts, rhythm, profile, follows, what is remembered. Knows no file format."""

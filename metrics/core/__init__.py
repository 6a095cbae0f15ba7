"""What a measurement is: value, interval, null model, words to show it with."""

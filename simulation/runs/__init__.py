"""One run from settings to a finished run file, and what goes on from one: resumption, forks, interviews."""

"""Engines that ask a server over OpenAI's HTTP interface: what is asked, how answers are read, what may go wrong."""

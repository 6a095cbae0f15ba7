"""How much of a person an adapter carries, measured on held-out acts; probes of single revisions."""

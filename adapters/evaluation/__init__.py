"""What adapters carry of their people, measured on held-out acts."""

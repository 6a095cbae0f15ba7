"""Starts the dashboard. Apart from `pages`, which Streamlit would take for scripts of its own."""

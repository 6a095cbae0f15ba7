"""The run in detail and the agent in the page's address, so that a copied link shows the same to somebody else.

Streamlit itself binds the page's name to the address. It does not do so in time for an agent that a button of another
page chose, and it takes the first of a list for the default; so the run and the agent are kept here.
"""

import streamlit as st

from polyphony.app.parts.page_parts import AGENT, CHOSEN_RUN


def read_address() -> None:
    """Take the run and the agent from the address where the reader has changed it, also by the browser's Back.

    A page checks them as any other choice: it shows its default for a name that it does not know.
    """
    for key in (CHOSEN_RUN, AGENT):
        named = st.query_params.get(key)
        if named != st.session_state.get(_seen(key)):
            st.session_state.pop(key, None)
            st.session_state[_seen(key)] = named
        if named is not None and key not in st.session_state:
            st.session_state[key] = named


def write_address(key: str, value: str) -> None:
    """Put a choice into the address, a default too: it may be another one tomorrow.

    Args:
        key: `CHOSEN_RUN` or `AGENT`.
        value: The choice.
    """
    st.session_state[_seen(key)] = value
    if st.query_params.get(key) != value:
        st.query_params[key] = value


def _seen(key: str) -> str:
    """The key of the session state under which stands what the address named last."""
    return f"{key} in the address"

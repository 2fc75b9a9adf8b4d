"""`streamlit run annotate_app.py`: the server of the app, whose pages are `curriculum/app/`."""

import streamlit as st

from curriculum.app import server

# Streamlit finds the application by reading this line, so it can't be made elsewhere.
app = st.App(server.SCRIPT, lifespan=server.lifespan, routes=server.ROUTES, middleware=server.MIDDLEWARE)

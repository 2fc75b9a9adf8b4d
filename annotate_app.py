"""`streamlit run annotate_app.py`: the app, whose pages are `curriculum/app/`."""

from curriculum.app.server import create_app

app = create_app()

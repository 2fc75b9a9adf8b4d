"""Health: is everything here as it should be, and if not, what is to be done?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from curriculum import doctor
from curriculum.app import layout, service


def page() -> None:
    st.title("Is all well?")
    st.button("Look again", icon=":material/refresh:")
    running = service.current()
    with st.spinner("Looking at the machine, the database, the images and the runs ...", show_time=True):
        checks = doctor.examine(running.home, running.store)
    checks += [doctor.Check(f"run {run_id}", False, said) for run_id, said in running.failed_runs.items()]
    if running.unsaved:
        checks.append(doctor.Check("snapshot", False, running.unsaved))
    ill = [check for check in checks if not check.ok]
    if ill:
        st.warning(f"{len(ill)} of {len(checks)} need a look.", icon=":material/error:")
    else:
        st.success("All is as it should be.", icon=":material/check_circle:")
    for check in ill:
        with st.container(border=True):
            st.markdown(f"**{layout.plain(check.name.capitalize())}**")
            st.text(check.detail.replace("`", "'"))
    well = pd.DataFrame([{"looked at": layout.plain(check.name), "found": layout.plain(check.detail)} for check in checks if check.ok])
    st.table(well, hide_index=True, border="horizontal")
    st.caption(
        "The same on the command line: python -m curriculum doctor. For a monitor: /api/health answers 200 or 503, "
        "/_stcore/health whether the server lives."
    )

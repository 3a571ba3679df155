"""The parts of `render_dashboards`: what a panel's JSON says, and how it is drawn."""

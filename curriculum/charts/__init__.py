"""The charts, from tables that `analysis` and run directories give: pages and reports show them. No chart of nothing: callers check first."""

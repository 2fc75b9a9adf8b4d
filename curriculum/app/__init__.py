"""The pages: one file each, layout and nothing else. `server` starts them, `service` holds what they share."""

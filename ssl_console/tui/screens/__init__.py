"""The screens of the terminal app, one a mode, and the sheets that open over them."""

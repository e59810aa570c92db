"""The screens of the terminal app, and the dialogs that open over them."""

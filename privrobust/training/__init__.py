"""The algorithm: `loop` trains runs side by side, from the pieces that the other files hold."""

"""Learning by the gradient of a window's rewards, through the account itself."""

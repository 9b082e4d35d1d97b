"""Where keys and values live: the batch's rows today; slots and the paged prefix cache come beside them."""

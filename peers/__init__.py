"""Other task queues, through their public interfaces: what is compared with Backburner runs on both alike."""

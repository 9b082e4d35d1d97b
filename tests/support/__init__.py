"""What tests share: real servers, started on free loopback ports and in temporary folders, and gone afterwards."""

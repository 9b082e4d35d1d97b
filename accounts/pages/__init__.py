"""The pages of people who need not be admins: signing in, their account, invitations, new passwords."""

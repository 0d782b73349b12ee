"""What people log in with: logins that wait for someone to vouch, and the pages that show them."""

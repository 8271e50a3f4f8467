"""`backburner demo`: the avatar example under load, with everything checked at the end."""

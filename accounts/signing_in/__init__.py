"""How people sign in: what django-allauth is told of our users, our audit log and our proxies."""

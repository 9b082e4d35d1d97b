"""Of allauth's pages those that need no mail server and let nobody sign up."""

from allauth.account import views as allauth_account
from allauth.socialaccount import views as allauth_social
from django.urls import include, path
from django.views.generic import RedirectView

from accounts.pages import account, invitation, new_password, single_sign_on

urlpatterns = [
    path("account/", account.AccountPage.as_view(), name="account"),
    path("account/login/", allauth_account.login, name="account_login"),
    path("account/logout/", allauth_account.logout, name="account_logout"),
    path("account/inactive/", allauth_account.account_inactive, name="account_inactive"),
    path("account/confirm/", allauth_account.reauthenticate, name="account_reauthenticate"),
    path("account/password/", allauth_account.password_change, name="account_change_password"),
    # Who signs in at a provider gets a password by an admin's link alone: it would outlive the provider's word.
    path("account/password/none/", RedirectView.as_view(pattern_name="account"), name="account_set_password"),
    path("account/2fa/", include("allauth.mfa.urls")),
    path("account/sso/cancelled/", allauth_social.login_cancelled, name="socialaccount_login_cancelled"),
    path("account/sso/error/", allauth_social.login_error, name="socialaccount_login_error"),
    path("account/oidc/<str:provider_id>/login/", single_sign_on.login, name="openid_connect_login"),
    path("account/oidc/<str:provider_id>/login/callback/", single_sign_on.callback, name="openid_connect_callback"),
    path("password/<uidb64>/<token>/", new_password.NewPassword.as_view(), name="password_reset_link"),
    path("invitation/", invitation.Invited.as_view(), name="invitation"),
    path("invitation/<str:token>/", invitation.open_link, name="invitation_link"),
    # The admin's own pages for these know neither second factors nor throttling nor the audit log.
    path("admin/login/", account.admin_login),
    path("admin/logout/", allauth_account.logout),
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
]


from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0009_announcements'),
    ]

    operations = [
        migrations.AddField(
            model_name='quota',
            name='activations',
            field=models.PositiveIntegerField(default=0, editable=False),
        ),
    ]
